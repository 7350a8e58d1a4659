"""Opening, encoding, editing and checking models."""

from pathlib import Path

import pytest
import torch
from torch import nn

import families
from tiny import tiny_masked_lm, word_tokenizer
from vesalius.core.errors import VesaliusError
from vesalius.models.checking import check
from vesalius.models.costs import saved_bytes
from vesalius.models.edits import SlotEdit, slots_edited
from vesalius.models.encoding import answer_ids, encode_prompts
from vesalius.models.neurons import read_neurons
from vesalius.models.objectives import token_objective
from vesalius.models.opening import open
from vesalius.models.specimen import Specimen, fingerprint, task_of
from vesalius.models.staircase import StaircaseOptions, attribute_neurons
from vesalius.numerics.quadrature import gauss_legendre


def specimen_of(family: str) -> Specimen:
    model = families.make(family)
    return Specimen(model=model, tokenizer=None, name=family, task=task_of(model))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    specimen = tiny_masked_lm()
    specimen.model.save_pretrained(tmp_path / "tiny")
    specimen.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_folder_opens_as_it_was_saved(folder: Path) -> None:
    opened = open(folder)
    original = tiny_masked_lm()
    assert opened.task == "masked-lm"
    assert opened.name == "tiny"  # the last part of the path, not the path of this machine
    assert not opened.model.training
    assert opened.dtype == torch.float32
    assert opened.fingerprint == original.fingerprint


def test_a_half_precision_checkpoint_is_widened_unless_told(folder: Path) -> None:
    tiny_masked_lm().model.to(torch.bfloat16).save_pretrained(folder)
    assert open(folder).dtype == torch.float32
    assert open(folder, dtype="bfloat16").dtype == torch.bfloat16


def test_a_live_model_is_used_as_it_is() -> None:
    model = families.make("gpt2")
    specimen = open(model)
    assert specimen.model is model
    assert specimen.task == "causal-lm"


def test_the_fingerprint_sees_one_bit_and_an_exchange() -> None:
    model = nn.Linear(4, 4)
    before = fingerprint(model)
    assert fingerprint(model) == before
    bits = model.weight.data.view(torch.int32)
    bits[0, 0] ^= 1
    changed = fingerprint(model)
    assert changed != before
    bits[0, 0] ^= 1
    assert fingerprint(model) == before
    model.weight.data[[0, 1]] = model.weight.data[[1, 0]].clone()
    assert fingerprint(model) not in (before, changed)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_seams_give_the_models_own_logits(family: str) -> None:
    """Padding and causality included: without our mask builder this is off by 0.1 and more."""
    report = check(specimen_of(family))
    assert report.supported
    assert report.neuron_difference == 0
    assert report.attention_difference is None or report.attention_difference <= 1e-6
    assert len(report.rows) == report.num_layers == (6 if family in ("t5", "bart") else 3)
    assert report.split_block


@pytest.mark.parametrize("family", ["bert", "gpt2", "albert"])
def test_edits_are_undone_bit_for_bit(family: str) -> None:
    specimen = specimen_of(family)
    before = specimen.fingerprint
    batch = specimen.probe()
    neurons = torch.tensor([3, 5])
    edit = SlotEdit(neurons=neurons, values=torch.zeros(2, 32))
    slot = specimen.parts.blocks[0].feed_forward
    with torch.no_grad():
        plain = specimen.model(**batch.inputs).logits
        with slots_edited(specimen, {0: edit}):
            assert specimen.fingerprint != before
            assert not slot.value_slots(neurons).any()
            assert not torch.equal(specimen.model(**batch.inputs).logits, plain)
        assert torch.equal(specimen.model(**batch.inputs).logits, plain)
    assert specimen.fingerprint == before
    with pytest.raises(RuntimeError, match="boom"):
        _commit_and_fail(specimen, edit)
    assert specimen.fingerprint == before


def test_layers_of_edits_are_those_of_locate() -> None:
    """ALBERT runs one block three times: any of its layers names it, two of them are refused."""
    specimen = specimen_of("albert")
    before = specimen.fingerprint
    edit = SlotEdit(neurons=torch.tensor([3]), values=torch.zeros(1, 32))
    with slots_edited(specimen, {2: edit}):
        changed = specimen.fingerprint
    with slots_edited(specimen, {0: edit}):
        assert specimen.fingerprint == changed != before
    with pytest.raises(VesaliusError, match="share their weights"):
        slots_edited(specimen, {0: edit, 2: edit}).__enter__()
    assert specimen.fingerprint == before


def _commit_and_fail(specimen: Specimen, edit: SlotEdit) -> None:
    with slots_edited(specimen, {0: edit}) as handle:
        handle.commit()
        raise RuntimeError("boom")


def test_a_committed_edit_stays_and_is_saved(folder: Path, tmp_path: Path) -> None:
    specimen = open(folder)
    edit = SlotEdit(neurons=torch.tensor([1]), values=torch.full((1, 32), 0.5))
    with slots_edited(specimen, {2: edit}) as handle:
        handle.commit()
    specimen.model.save_pretrained(tmp_path / "edited")
    specimen.tokenizer.save_pretrained(tmp_path / "edited")
    again = open(tmp_path / "edited")
    assert again.fingerprint == specimen.fingerprint
    slots = again.parts.blocks[2].feed_forward.value_slots(torch.tensor([1]))
    assert (slots == 0.5).all()


def test_a_value_slot_is_what_the_neuron_writes() -> None:
    """Orientation: raising one neuron by 1 adds its slot to the residual stream (GPT-2, Llama)."""
    for family in ("gpt2", "llama"):
        specimen = specimen_of(family)
        slot = specimen.parts.blocks[0].feed_forward
        inputs = torch.randn(1, 1, slot.num_inputs)
        raised = inputs.clone()
        raised[..., 4] += 1
        with torch.no_grad():
            written = slot.module(raised) - slot.module(inputs)
        torch.testing.assert_close(written[0], slot.value_slots(torch.tensor([4])))


def test_prompts_find_their_gap_and_answers_their_token() -> None:
    specimen = tiny_masked_lm()
    batch = encode_prompts(specimen, ["the capital of France is [MASK] .", "[MASK] is a city ."])
    assert batch.row.tolist() == [6, 1]
    assert batch.inputs["attention_mask"].sum(1).tolist() == [9, 7]
    wanted = specimen.tokenizer.convert_tokens_to_ids(["Paris", "Lima"])
    assert answer_ids(specimen, ["Paris", " Lima "]).tolist() == wanted


def test_causal_prompts_are_padded_on_the_left() -> None:
    model = families.make("gpt2")
    tokenizer = word_tokenizer()
    specimen = Specimen(model=model, tokenizer=tokenizer, name="gpt2", task="causal-lm")
    batch = encode_prompts(specimen, ["the capital of France is [MASK] .", "Lima is"])
    assert (batch.row == batch.inputs["input_ids"].shape[1] - 1).all()
    assert batch.inputs["attention_mask"][1].tolist() == [0, 0, 0, 1, 1, 1]
    assert batch.inputs["position_ids"][1, -1] == 2


def test_a_causal_prompt_is_read_at_its_last_word() -> None:
    """The tokenizer's [SEP] stands behind the text and is left out; a written one stays."""
    tokenizer = word_tokenizer()
    specimen = Specimen(
        model=families.make("gpt2"), tokenizer=tokenizer, name="gpt2", task="causal-lm"
    )
    ids = encode_prompts(specimen, ["Lima is", "Lima is [SEP]"]).inputs["input_ids"].tolist()
    assert tokenizer.convert_ids_to_tokens(ids[0]) == ["[PAD]", "[CLS]", "Lima", "is"]
    assert tokenizer.convert_ids_to_tokens(ids[1]) == ["[CLS]", "Lima", "is", "[SEP]"]


def test_roberta_counts_positions_from_behind_its_padding() -> None:
    model = families.make("roberta")
    specimen = Specimen(model=model, tokenizer=word_tokenizer(), name="r", task="masked-lm")
    table = model.roberta.embeddings.position_embeddings
    limit = table.num_embeddings - table.padding_idx - 1
    longest = encode_prompts(specimen, ["is " * (limit - 3) + "[MASK]"])
    assert longest.inputs["input_ids"].shape[1] == limit
    with torch.no_grad():
        assert torch.isfinite(model(**longest.inputs).logits).all()
    with pytest.raises(VesaliusError, match=f"at most {limit} tokens"):
        encode_prompts(specimen, ["is " * (limit - 2) + "[MASK]"])


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_read_neurons_reads_what_the_staircase_scales(family: str) -> None:
    specimen = specimen_of(family)
    batch = specimen.probe()
    read = read_neurons(specimen.model, specimen.parts, batch, calls=specimen.plan.calls)
    found = attribute_neurons(
        specimen,
        batch,
        objective=token_objective(torch.zeros(batch.num_prompts, dtype=torch.long)),
        options=StaircaseOptions(rules=(gauss_legendre(1),)),
    )
    for a, b in zip(read, found.signal, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_the_memory_forecast_is_an_upper_bound_that_is_not_idle(family: str) -> None:
    """Bytes that autograd really keeps of one block pass, counted tensor by tensor."""
    from vesalius.models.ladder import Streams, record
    from vesalius.models.staircase import open_seam

    specimen = specimen_of(family)
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with specimen.at_rest(), open_seam(specimen, specimen.plan, neurons=True):
        ladder = record(specimen.model, specimen.parts, specimen.probe(), seam=False)
        call = ladder.calls[1]
        prompt = torch.arange(5).repeat(4)
        hidden = call.hidden[prompt].clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            ladder.climb(1, Streams(hidden=hidden, prompt=prompt))
    weights = {p.untyped_storage().data_ptr() for p in specimen.model.parameters()}
    real = sum(size for pointer, size in kept.items() if pointer not in weights)
    forecast = saved_bytes(
        call.part, num_positions=call.num_positions, d_model=32, bytes_each=4
    ) * len(prompt)
    assert real <= forecast <= 4 * real


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bool])
@pytest.mark.parametrize("size", [1, 7, 8, 1 << 17, (1 << 17) + 3])
def test_the_sums_of_a_fingerprint_are_what_they_say(size: int, dtype: torch.dtype) -> None:
    from vesalius.models.specimen import _sums

    generator = torch.Generator().manual_seed(size)
    tensor = torch.randn(size, generator=generator).to(dtype)
    raw = tensor.view(torch.uint8) if dtype != torch.bool else tensor.to(torch.uint8)
    words = torch.cat((raw, raw.new_zeros(-len(raw) % 8))).view(torch.int64)
    weights = torch.arange(1, len(words) + 1) * 0x9E3779B9 | 1
    assert _sums(tensor) == (int(words.sum()), int((words * weights).sum()))
