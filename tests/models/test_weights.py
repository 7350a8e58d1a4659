"""Weights from files fit the model that they were saved from, whatever the file calls them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import families
import tiny
from vesalius.core.errors import VesaliusError
from vesalius.models import zoo
from vesalius.models.weights import fit_weights, read_weights


def names_of(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def assert_same_weights(found: dict[str, torch.Tensor], model: nn.Module) -> None:
    own = dict(model.named_parameters())
    assert list(found) == list(own)
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, own[name].detach()), name


def experts() -> nn.Module:
    from transformers import MixtralConfig, MixtralForCausalLM

    return MixtralForCausalLM(
        MixtralConfig(vocab_size=11, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                      num_attention_heads=2, num_key_value_heads=2, num_local_experts=2)
    )  # fmt: skip


@pytest.mark.parametrize("family", families.FAMILIES)
def test_what_save_pretrained_wrote_fits_whole_and_in_shards(family: str, tmp_path: Path):
    model = families.make(family)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert (tmp_path / "parts" / "model.safetensors.index.json").is_file()
    for source in (tmp_path / "whole", str(tmp_path / "whole" / "model.safetensors"),
                   tmp_path / "parts", model, model.state_dict()):  # fmt: skip
        found = read_weights(source)
        assert_same_weights(fit_weights(found, model, names_of(model), what="it"), model)


def test_only_the_asked_tensors_come_in_the_order_of_the_model():
    model = families.make("bert")
    some = names_of(model)[3:9]
    found = fit_weights(read_weights(model), model, some[::-1], what="it")
    assert list(found) == some


def test_a_bundled_name_and_its_folder_are_the_same():
    by_name, by_folder = read_weights("mini-gpt-tiny"), read_weights(zoo.path("mini-gpt-tiny"))
    assert by_name.keys() == by_folder.keys()
    assert all(torch.equal(by_name[name], by_folder[name]) for name in by_name)
    assert {t.dtype for t in by_name.values()} == {torch.float32}


@pytest.mark.parametrize("family", ["bert", "gpt2", "modernbert", "opt", "vit"])
def test_the_prefix_of_the_base_model_may_be_there_or_not(family: str):
    model = families.make(family)
    base = getattr(model, model.base_model_prefix)
    inner = [f"{model.base_model_prefix}.{name}" for name in names_of(base)]
    wrapped = fit_weights(read_weights(base), model, inner, what="a bare one")
    assert_same_weights(fit_weights(read_weights(model), base, names_of(base), what="it"), base)
    for name, tensor in wrapped.items():
        assert torch.equal(tensor, model.get_parameter(name).detach())


def test_a_tied_tensor_is_found_under_any_of_its_names():
    model = families.make("bert")
    state = read_weights(model)
    first, other = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
    assert torch.equal(state[first], state[other])
    for left_out in (first, other):
        rest = {name: tensor for name, tensor in state.items() if name != left_out}
        assert_same_weights(fit_weights(rest, model, names_of(model), what="it"), model)


def test_wrappers_and_the_spelling_of_the_first_bert_are_known():
    model = families.make("bert")
    state = {f"module._orig_mod.{n}": t for n, t in read_weights(model).items()}
    old = {
        n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): t
        for n, t in state.items()
    }
    assert old.keys() != state.keys()
    for found in (state, old):
        assert_same_weights(fit_weights(found, model, names_of(model), what="it"), model)


def test_weights_are_copies_and_tied_ones_one_copy():
    model = families.make("bert")
    found, state = read_weights(model), read_weights(model.state_dict())
    before = {name: tensor.clone() for name, tensor in found.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all(torch.equal(found[n], t) and torch.equal(state[n], t) for n, t in before.items())
    one, other = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
    assert found[one].data_ptr() == found[other].data_ptr()


def test_other_types_are_widened_and_integers_left_out(tmp_path: Path):
    values = torch.tensor([[1.5, -2.25]])
    stored = {
        "half": values.half(),
        "brain": values.bfloat16(),
        "double": values.double(),
        "places": torch.arange(3),
        "mask": torch.tensor([True]),
    }
    save_file(stored, tmp_path / "some.safetensors")
    arrays = {name: t.numpy() for name, t in stored.items() if name != "brain"}
    for source in (tmp_path / "some.safetensors", stored, arrays | {"brain": values}):
        found = read_weights(source)
        assert sorted(found) == ["brain", "double", "half"]
        assert all(torch.equal(tensor, values) for tensor in found.values())
        assert {tensor.dtype for tensor in found.values()} == {torch.float32}


def test_a_hub_name_is_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    model, commit = families.make("gpt2"), "0" * 40
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name, size in (("whole", "1GB"), ("parts", "20KB"), ("old", "1GB")):
        repository = tmp_path / f"models--some--{name}"
        model.save_pretrained(repository / "snapshots" / commit, max_shard_size=size)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
    for name in ("some/whole", "some/parts"):
        assert_same_weights(
            fit_weights(read_weights(name), model, names_of(model), what="it"), model
        )
    old = tmp_path / "models--some--old" / "snapshots" / commit
    (old / "model.safetensors").rename(old / "pytorch_model.bin")
    with pytest.raises(VesaliusError, match="weights only as pickle"):
        read_weights("some/old")
    (old / "pytorch_model.bin").unlink()
    with pytest.raises(VesaliusError, match="some/old"):
        read_weights("some/old")
    with pytest.raises(VesaliusError, match="some/unheard-of"):
        read_weights("some/unheard-of")


def test_a_pickle_is_refused_with_the_reason(tmp_path: Path):
    for name in ("pytorch_model.bin", "model.pt"):
        (tmp_path / name).write_bytes(b"\x80\x04N.")
        for source in (tmp_path / name, str(tmp_path / name), tmp_path):
            with pytest.raises(VesaliusError, match="a pickle can run any code"):
                read_weights(source)
        (tmp_path / name).unlink()


def test_what_is_not_there_or_damaged_is_named(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(VesaliusError, match=r"empty: no model\.safetensors"):
        read_weights(tmp_path / "empty")
    for source in (tmp_path / "none", tmp_path / "none.safetensors", "none.safetensors", " "):
        with pytest.raises(VesaliusError, match="no such file or folder"):
            read_weights(source)
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{")
    with pytest.raises(VesaliusError, match=r"cut\.safetensors: weights that cannot be read"):
        read_weights(tmp_path / "cut.safetensors")
    save_file({"places": torch.arange(3)}, tmp_path / "whole-numbers.safetensors")
    with pytest.raises(VesaliusError, match="no floating-point tensor"):
        read_weights(tmp_path / "whole-numbers.safetensors")


def test_shards_that_are_missing_or_strange_are_named(tmp_path: Path):
    families.make("bert").save_pretrained(tmp_path, max_shard_size="20KB")
    first = min(tmp_path.glob("model-*.safetensors"))
    first.unlink()
    with pytest.raises(VesaliusError, match=first.name):
        read_weights(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    for content in ("{", "[]", '{"weight_map": {}}', '{"weight_map": {"a": "../a.safetensors"}}'):
        index.write_text(content, encoding="utf-8")
        with pytest.raises(VesaliusError, match=r"index\.json: weights that cannot be read"):
            read_weights(tmp_path)


def test_weights_away_or_quantised_are_refused(tmp_path: Path):
    with pytest.raises(VesaliusError, match="offloaded"):
        read_weights(nn.Linear(2, 2, device="meta"))
    small = {"w": torch.ones(2, dtype=torch.float8_e4m3fn)}
    save_file(small, tmp_path / "small.safetensors")
    for source in (small, tmp_path / "small.safetensors"):
        with pytest.raises(VesaliusError, match="w: quantised"):
            read_weights(source)


def test_the_first_tensor_that_does_not_fit_is_named():
    model = families.make("bert")
    found, names = read_weights(model), names_of(model)
    first, second = names[4], names[5]
    del found[first]
    with pytest.raises(VesaliusError, match=f"the start: no tensor for {first}"):
        fit_weights(found, model, names, what="the start")
    found[first] = torch.zeros(3, 5)
    with pytest.raises(VesaliusError, match=r"shape \[3, 5\](.|\n)*" + first):
        fit_weights(found, model, names, what="the start")
    found = read_weights(model)
    for bad in (float("nan"), float("inf")):
        found[second] = found[second].clone()
        found[second].view(-1)[1] = bad
        with pytest.raises(VesaliusError, match=f"NaN or infinity in {second}"):
            fit_weights(found, model, names, what="the start")
    with pytest.raises(VesaliusError, match="no tensor"):
        fit_weights({}, model, names, what="the start")
    with pytest.raises(VesaliusError, match="no such name"):
        fit_weights(found, model, ["no such name"], what="the start")


def test_changing_what_was_read_leaves_the_file(tmp_path: Path):
    model = tiny.tiny_masked_lm().model
    model.save_pretrained(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    found = read_weights(tmp_path)
    found["cls.predictions.bias"].fill_(9.0)  # it may be a view of the file in memory
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_tensors_that_are_put_together_at_loading_are_taken_from_the_live_model(tmp_path: Path):
    model = experts()
    model.save_pretrained(tmp_path)
    with pytest.raises(VesaliusError, match="pass its live model"):
        fit_weights(read_weights(tmp_path), model, names_of(model), what="the start")
    assert_same_weights(fit_weights(read_weights(model), model, names_of(model), what="it"), model)
