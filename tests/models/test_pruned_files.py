"""Pruned models on disk: for vesalius.open, and for plain transformers."""

import json
from pathlib import Path

import pytest
import torch
import transformers as hf

import families
from helpers import assert_equal_numbers
from masking import Heads, logits_of, masked_logits, num_weights, specimen_of, uneven
from tiny import tiny_masked_lm, word_tokenizer
from vesalius.core.errors import VesaliusError
from vesalius.models.attention_sites import attention_sites
from vesalius.models.opening import open
from vesalius.models.pruned import export_plain, head_groups, prune_heads, save_pruned
from vesalius.models.specimen import Specimen

SMALLER = ("llama", "mistral", "qwen3", "gemma3", "phi3", "t5", "vit")


@pytest.fixture(autouse=True)
def no_vision_processor_and_no_tokenizer_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models have no tokenizer; the weights are what these tests are about."""
    monkeypatch.setattr("vesalius.models.opening._tokenizer", lambda *_: None)


def opened_plainly(folder: Path, specimen: Specimen) -> Specimen:
    """What a user of transformers gets, who has never heard of this project."""
    auto = {
        "masked-lm": hf.AutoModelForMaskedLM,
        "causal-lm": hf.AutoModelForCausalLM,
        "seq2seq-lm": hf.AutoModelForSeq2SeqLM,
        "image-classifier": hf.AutoModelForImageClassification,
    }[specimen.task]
    model = auto.from_pretrained(folder, dtype=specimen.dtype)
    return Specimen(model=model, tokenizer=None, name="plain", task=specimen.task)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_pruned_folder_opens_bit_for_bit(family: str, tmp_path: Path) -> None:
    specimen = specimen_of(family)
    pruned = prune_heads(specimen, _with_an_empty_layer(specimen))
    folder = save_pruned(pruned, tmp_path / "pruned")
    again = open(folder)
    assert again.name == "pruned"
    assert type(again.model) is type(specimen.model)
    assert again.task == specimen.task
    assert again.fingerprint == pruned.fingerprint
    assert torch.equal(logits_of(again), logits_of(pruned))
    assert num_weights(again) == num_weights(pruned)
    heads = [site.num_heads for site in attention_sites(pruned)]
    assert [site.num_heads for site in attention_sites(again)] == heads
    # an opened one may lose more
    if family != "albert":
        more = [(0, head) for head in head_groups(again)[0][0]]
        assert_equal_numbers(logits_of(prune_heads(again, more)), masked_logits(again, more))


def _with_an_empty_layer(specimen: Specimen) -> Heads:
    if specimen.name == "albert":
        return uneven(specimen)
    groups = head_groups(specimen)[1]
    return [*uneven(specimen), *((1, head) for group in groups for head in group)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_folder_opens_in_another_type(dtype: torch.dtype, tmp_path: Path) -> None:
    specimen = specimen_of("t5")
    folder = save_pruned(prune_heads(specimen, uneven(specimen)), tmp_path / "pruned")
    again = open(folder, dtype=dtype)
    assert {p.dtype for p in again.model.parameters()} == {dtype}


def test_shards_and_what_save_pretrained_writes_open_too(tmp_path: Path) -> None:
    specimen = specimen_of("llama")
    pruned = prune_heads(specimen, uneven(specimen))
    pruned.model.save_pretrained(tmp_path / "shards", max_shard_size="20kB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert torch.equal(logits_of(open(tmp_path / "shards")), logits_of(pruned))


def test_nothing_is_allocated_at_the_size_before_pruning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specimen = specimen_of("bert")
    folder = save_pruned(prune_heads(specimen, uneven(specimen)), tmp_path / "pruned")
    seen: list[str] = []
    from vesalius.models import pruned

    def watching(layout: pruned.HeadLayout, heads: list[int]) -> None:
        seen.extend(str(linear.weight.device) for linear in layout.linears)
        keep(layout, heads)

    keep = pruned.keep_heads
    monkeypatch.setattr(pruned, "keep_heads", watching)
    open(folder)
    assert set(seen) == {"meta"}


def test_the_tokenizer_and_a_notice_stand_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    specimen = tiny_masked_lm()
    folder = save_pruned(prune_heads(specimen, [(0, 1), (2, 3)]), tmp_path / "pruned")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["vesalius_kept_heads"] == {
        "bert.encoder.layer.0.attention.self": [0, 2, 3],
        "bert.encoder.layer.2.attention.self": [0, 1, 2],
    }
    assert "vesalius.open" in (folder / "README.md").read_text(encoding="utf-8")
    again = open(folder)
    assert again.tokenizer.get_vocab() == word_tokenizer().get_vocab()
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        hf.AutoModelForMaskedLM.from_pretrained(folder)


def test_a_folder_is_replaced_only_with_force(tmp_path: Path) -> None:
    pruned = prune_heads(specimen_of("bert"), [(0, 0)])
    save_pruned(pruned, tmp_path / "pruned")
    with pytest.raises(VesaliusError, match="exists"):
        save_pruned(pruned, tmp_path / "pruned")
    other = prune_heads(specimen_of("bert"), [(0, 0), (0, 1)])
    save_pruned(other, tmp_path / "pruned", force=True)
    assert open(tmp_path / "pruned").fingerprint == other.fingerprint


def test_a_whole_model_is_not_saved_as_pruned(tmp_path: Path) -> None:
    with pytest.raises(VesaliusError, match="no head was pruned"):
        save_pruned(specimen_of("bert"), tmp_path / "pruned")
    assert not (tmp_path / "pruned").exists()


@pytest.mark.parametrize(
    "kept",
    [
        {"bert.encoder.layer.7.attention.self": [0]},
        {"bert.encoder.layer.0.attention.self": [0, 9]},
        {"bert.encoder.layer.0.attention.self": [2, 1]},
        {"bert.encoder.layer.0.attention.self": "all"},
        {"bert.encoder.layer.0.attention.self": [0]},  # the weights have three
    ],
)
def test_a_list_that_does_not_fit_is_refused(kept: dict[str, object], tmp_path: Path) -> None:
    folder = save_pruned(prune_heads(specimen_of("bert"), [(0, 0)]), tmp_path / "pruned")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["vesalius_kept_heads"] = kept
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(VesaliusError):
        open(folder)


@pytest.mark.parametrize("task", ["classifier", "image-classifier", "causal-lm"])
def test_a_pruned_folder_with_another_head_is_refused(task: str, tmp_path: Path) -> None:
    folder = save_pruned(prune_heads(specimen_of("albert"), _everywhere(1)), tmp_path / "pruned")
    with pytest.raises(VesaliusError):
        open(folder, task=task)


def _everywhere(head: int) -> Heads:
    return [(site, head) for site in range(3)]


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_plain_export_gives_the_masked_logits(family: str, tmp_path: Path) -> None:
    specimen = specimen_of(family)
    removed = _with_an_empty_layer(specimen)
    before = specimen.fingerprint
    folder = export_plain(specimen, removed, tmp_path / "plain")
    plain = opened_plainly(folder, specimen)
    assert_equal_numbers(logits_of(plain), masked_logits(specimen, removed))
    assert num_weights(plain) == num_weights(specimen)
    assert "vesalius" not in (folder / "config.json").read_text(encoding="utf-8")
    assert specimen.fingerprint == before
    assert torch.equal(logits_of(open(folder)), logits_of(plain))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_smaller_export_where_the_configuration_can_say_it(family: str, tmp_path: Path) -> None:
    specimen = specimen_of(family)
    sites = attention_sites(specimen)
    removed = [(site.index, head) for site in sites for head in (2, 3)]
    if family not in SMALLER:
        with pytest.raises(VesaliusError, match="as a smaller ordinary checkpoint"):
            export_plain(specimen, removed, tmp_path / "small", smaller=True)
        assert not (tmp_path / "small").exists()
        return
    folder = export_plain(specimen, removed, tmp_path / "small", smaller=True)
    small = opened_plainly(folder, specimen)
    assert_equal_numbers(logits_of(small), masked_logits(specimen, removed))
    assert num_weights(small) < num_weights(specimen)
    assert small.model.config.num_attention_heads == 2
    assert "vesalius" not in (folder / "config.json").read_text(encoding="utf-8")


def test_a_smaller_export_may_keep_other_heads_in_every_layer(tmp_path: Path) -> None:
    specimen = specimen_of("qwen3")
    removed = [(0, 0), (0, 1), (1, 2), (1, 3), (2, 0), (2, 1)]
    folder = export_plain(specimen, removed, tmp_path / "small", smaller=True)
    small = opened_plainly(folder, specimen)
    assert_equal_numbers(logits_of(small), masked_logits(specimen, removed))


def test_what_no_configuration_describes_is_not_exported_smaller(tmp_path: Path) -> None:
    llama, t5 = specimen_of("llama"), specimen_of("t5")
    with pytest.raises(VesaliusError, match=r"different numbers of heads: \[2, 4\]"):
        export_plain(llama, [(0, 0), (0, 1)], tmp_path / "small", smaller=True)
    # T5 shares one bias among its layers: they must keep the same heads, not only as many
    mixed = [(site.index, site.index % 2) for site in attention_sites(t5)]
    with pytest.raises(VesaliusError, match="one bias of relative positions"):
        export_plain(t5, mixed, tmp_path / "small", smaller=True)
    # cross-attention has no bias and may differ
    cross = [(site.index, site.index % 4 if site.kind == "cross" else 1)
             for site in attention_sites(t5)]  # fmt: skip
    folder = export_plain(t5, cross, tmp_path / "small", smaller=True)
    assert_equal_numbers(logits_of(opened_plainly(folder, t5)), masked_logits(t5, cross))


def test_a_pruned_model_is_not_exported(tmp_path: Path) -> None:
    pruned = prune_heads(specimen_of("llama"), [(0, 0), (0, 1)])
    for smaller in (False, True):
        with pytest.raises(VesaliusError, match="pruned already"):
            export_plain(pruned, [], tmp_path / "plain", smaller=smaller)


def test_a_classifier_goes_to_disk_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    specimen = open("mini-classifier")
    pruned = prune_heads(specimen, uneven(specimen))
    again = open(save_pruned(pruned, tmp_path / "pruned"))
    assert again.task == "classifier"
    assert again.model.config.id2label == specimen.model.config.id2label
    assert torch.equal(logits_of(again), logits_of(pruned))
