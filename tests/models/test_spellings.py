"""Answers and gaps with a byte-level tokenizer, which marks spaces and has a mask of its own."""

from collections.abc import Sequence

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

import families
from vesalius.core.errors import VesaliusError
from vesalius.models.answers import encode_answers
from vesalius.models.encoding import encode_prompts, one_token
from vesalius.models.specimen import Specimen

SPECIAL = ("<s>", "<pad>", "</s>", "<mask>")
# "Foo" is one token at the start of a text, two behind a space; "is" is one in both places
MERGES = (("Ġ", "F"), ("F", "o"), ("Fo", "o"), ("i", "s"), ("Ġ", "is"))
LETTERS = tuple('abcdefghijklmnopqrstuvwxyzAFOĠ.(")')


def byte_level() -> PreTrainedTokenizerFast:
    pieces = (*SPECIAL, *LETTERS, *(a + b for a, b in MERGES))
    model = models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=list(MERGES))
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        mask_token=AddedToken("<mask>", lstrip=True),
    )


def specimen_of(family: str, task: str) -> Specimen:
    model: nn.Module = families.make(family)
    return Specimen(model=model, tokenizer=byte_level(), name=family, task=task)


def pieces_of(specimen: Specimen, prompt: str, answer: str) -> Sequence[str]:
    steps = encode_answers(specimen, [prompt], [answer], several_tokens=True)
    return specimen.tokenizer.convert_ids_to_tokens(steps.targets.tolist())


@pytest.mark.parametrize(
    ("family", "task", "prompt", "expected"),
    [
        ("bert", "masked-lm", "A is [MASK].", ["ĠF", "o", "o"]),
        ("bert", "masked-lm", "A is ([MASK]).", ["Foo"]),
        ("gpt2", "causal-lm", "A is [MASK]", ["ĠF", "o", "o"]),
        ("gpt2", "causal-lm", "A is", ["ĠF", "o", "o"]),
        ("gpt2", "causal-lm", 'A is "[MASK]', ["Foo"]),
    ],
)
def test_an_answer_is_spelled_as_it_stands_behind_its_prompt(
    family: str, task: str, prompt: str, expected: list[str]
) -> None:
    assert pieces_of(specimen_of(family, task), prompt, "Foo") == expected


def test_a_word_that_is_one_token_elsewhere_is_refused() -> None:
    specimen = specimen_of("bert", "masked-lm")
    with pytest.raises(VesaliusError, match="'ĠF', 'o', 'o'"):
        one_token(specimen, "Foo")
    assert specimen.tokenizer.convert_ids_to_tokens(one_token(specimen, "is")) == "Ġis"


@pytest.mark.parametrize(("family", "task"), [("bert", "masked-lm"), ("bart", "seq2seq-lm")])
def test_the_tokenizers_own_mask_beside_ours_is_refused(family: str, task: str) -> None:
    specimen = specimen_of(family, task)
    batch = encode_prompts(specimen, ["A is [MASK]."])
    mask = specimen.tokenizer.mask_token_id
    assert torch.equal(batch.inputs["input_ids"][0, batch.row], torch.tensor([mask]))
    with pytest.raises(VesaliusError, match="sees 2 masks"):
        encode_prompts(specimen, ["A <mask> is [MASK]."])
