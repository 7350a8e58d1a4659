"""Second moments against a plain loop, shifts at one row, subjects among tokens."""

import pytest
import torch

import families
from helpers import assert_equal_numbers
from tiny import word_tokenizer
from vesalius.core.errors import VesaliusError
from vesalius.models.activity import output_shifted, second_moments
from vesalius.models.encoding import encode_gaps, encode_prompts
from vesalius.models.specimen import Specimen, task_of
from vesalius.models.subjects import subject_rows

TEXTS = ("the capital of France is [MASK] .", "Lima is a city .", "people speak")
TRIED = ("bert", "albert", "gpt2", "opt", "llama")


def specimen_of(family: str, *, dtype: torch.dtype = torch.float64) -> Specimen:
    model = families.make(family, dtype=dtype)
    return Specimen(model=model, tokenizer=word_tokenizer(), name=family, task=task_of(model))


@pytest.mark.parametrize("family", TRIED)
def test_second_moments_are_a_mean_over_tokens(family: str) -> None:
    """One text at a time, so that no padding is about; the causal model stops at the gap."""
    specimen = specimen_of(family)
    tokenizer = specimen.tokenizer
    keys: list[torch.Tensor] = []
    slot = specimen.plan.calls[-1].feed_forward.module
    hook = slot.register_forward_pre_hook(lambda _, args: keys.append(args[0].flatten(0, -2)))
    for text in TEXTS:
        if specimen.task == "causal-lm":
            text = text.partition("[MASK]")[0].rstrip()
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            specimen.model(input_ids=ids)
    hook.remove()
    every = 3 if family == "albert" else 1  # one module, called once in each layer
    rows = torch.cat(keys[every - 1 :: every])
    found = second_moments(specimen, TEXTS, layers=[1, 2])
    assert set(found) == {1, 2}
    assert_equal_numbers(found[2], rows.T @ rows / len(rows))
    assert not torch.equal(found[1], found[2])


@pytest.mark.parametrize("family", TRIED)
def test_a_shift_moves_one_row_of_one_layer(family: str) -> None:
    specimen = specimen_of(family)
    batch = encode_prompts(specimen, ("the capital of France is [MASK]", "Lima is [MASK]"))
    rows = batch.row - 1

    def states(layer: int, shift: torch.Tensor) -> torch.Tensor:
        with output_shifted(specimen, layer, rows=rows, shift=shift), torch.no_grad():
            return specimen.model(**batch.inputs, output_hidden_states=True).logits

    nothing, ones = torch.zeros(32).double(), torch.linspace(-1, 1, 32).double()
    with torch.no_grad():
        plain = specimen.model(**batch.inputs).logits
    assert torch.equal(states(1, nothing), plain)
    changed = (states(2, ones) != plain).any(-1)  # above the top layer no row reads another
    wanted = torch.zeros_like(changed)
    wanted[torch.arange(2), rows] = True
    assert torch.equal(changed, wanted)
    assert (states(1, ones) != plain).any(-1).sum() > 2
    with torch.no_grad():
        assert torch.equal(specimen.model(**batch.inputs).logits, plain)


def test_a_gradient_flows_into_the_shift() -> None:
    specimen = specimen_of("llama")
    batch = encode_prompts(specimen, ("Lima is [MASK]",))
    shift = torch.zeros(32, dtype=torch.float64, requires_grad=True)
    with output_shifted(specimen, 1, rows=batch.row, shift=shift):
        specimen.model(**batch.inputs).logits[0, -1, 3].backward()
    assert shift.grad is not None
    assert bool(shift.grad.any())


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_subject_is_found_behind_padding_and_answers(family: str) -> None:
    specimen = specimen_of(family)
    prompts = ("Peru France speak the language [MASK]", "the capital of Peru France is [MASK]")
    france = specimen.tokenizer.convert_tokens_to_ids("France")
    batch = encode_prompts(specimen, prompts)
    rows = subject_rows(specimen, batch, prompts, "Peru France")
    assert (batch.inputs["input_ids"][torch.arange(2), rows] == france).all()
    gap = specimen.tokenizer.convert_tokens_to_ids(["Rome", "Lima"])
    longer = encode_gaps(specimen, prompts, [gap, []], num_open=[1, 3])
    rows = subject_rows(specimen, longer, prompts, "Peru France")
    assert (longer.inputs["input_ids"][torch.arange(2), rows] == france).all()


def test_a_subject_behind_the_gap_moves_with_it() -> None:
    specimen = specimen_of("bert")
    prompts = ("[MASK] is the capital of France , France",) * 2
    batch = encode_gaps(specimen, prompts, [[7, 8], []], num_open=[2, 1])
    rows = subject_rows(specimen, batch, prompts, "France")
    assert rows.tolist() == [8 + 3, 8]  # the later one of two; [CLS] is token 0


@pytest.mark.parametrize(
    ("family", "prompt", "subject", "given"),
    [
        ("bert", "the capital of France is [MASK]", "Fran", "'Fran'"),
        ("bert", "the capital of France is [MASK]", "france", "'france'"),
        ("bert", "the capital of France is [MASK]", " ", "' '"),
        ("gpt2", "Lima is [MASK]", "France", "'France'"),
    ],
)
def test_a_subject_that_is_not_there_is_refused(family, prompt, subject, given) -> None:
    specimen = specimen_of(family)
    batch = encode_prompts(specimen, [prompt])
    with pytest.raises(VesaliusError) as caught:
        subject_rows(specimen, batch, [prompt], subject)
    assert given in caught.value.given
    assert "leave the subject out" in caught.value.fix


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow:
        is_fast = False

    specimen = specimen_of("bert")
    batch = encode_prompts(specimen, ["Lima is [MASK]"])
    slow = Specimen(model=specimen.model, tokenizer=Slow(), name="slow", task="masked-lm")
    with pytest.raises(VesaliusError, match="fast tokenizer"):
        subject_rows(slow, batch, ["Lima is [MASK]"], "Lima")


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    ("family", "texts", "layer", "given"),
    [
        ("bert", [], 0, "no texts"),
        ("bert", "a text", 0, "one text"),
        ("bert", [" "], 0, "empty"),
        ("bert", TEXTS, 3, "layer 3"),
        ("bert", TEXTS, -1, "layer -1"),
        ("bart", TEXTS, 0, "seq2seq-lm"),
    ],
)
def test_what_has_no_second_moment_is_refused(family, texts, layer: int, given: str) -> None:
    with pytest.raises(VesaliusError) as caught:
        second_moments(specimen_of(family), texts, layers=[layer])
    assert given in caught.value.given
