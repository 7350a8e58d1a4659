"""Texts into batches: masks found, rows named, padding put where the model wants it."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.batch import Batch
from vesalius.models.ladder import accepts
from vesalius.models.specimen import Specimen

MASK = "[MASK]"


def encode_prompts(
    specimen: Specimen, prompts: Sequence[str], *, pad_to: int | None = None
) -> Batch:
    """Turn cloze prompts into one padded batch.

    A masked LM needs the word ``[MASK]`` exactly once in each prompt, whatever its tokenizer calls
    it. A causal LM reads the text before ``[MASK]`` (all of it where there is none) and answers at
    its last token, what the tokenizer sets behind the text ([SEP], end of text) left out; it is
    padded on the left, so that every answer stands in the last column. A sequence-to-sequence model
    gets its sentinel in the place of ``[MASK]`` and answers with the first decoder token after it.

    Args:
        specimen: the opened model.
        prompts: texts.
        pad_to: positions, instead of those of the longest prompt.

    Returns:
        A batch of shape [prompt, position].

    Raises:
        VesaliusError: a classifier; no text or an empty one, no mask, two masks, text after the
            mask of a causal model, a text longer than the model or than ``pad_to``.

    Source: arXiv 2104.08696, section 3.1; padding invisibility is tested on every family.
    """
    return encode_gaps(specimen, prompts, [()] * len(prompts), pad_to=pad_to)


def encode_gaps(
    specimen: Specimen,
    prompts: Sequence[str],
    said: Sequence[Sequence[int]],
    *,
    num_open: Sequence[int] | None = None,
    pad_to: int | None = None,
) -> Batch:
    """Turn cloze prompts whose answers have begun into one padded batch.

    The row of interest is where the next token of the answer is read: in a masked LM the first of
    the ``num_open`` masks that follow the tokens said so far.

    Args:
        specimen: the opened model.
        prompts: texts, as in :func:`encode_prompts`.
        said: the tokens of each answer that stand in its gap already.
        num_open: how many tokens of each answer are still to come, 1 where left out; only a masked
            LM sees them, as so many masks.
        pad_to: positions, instead of those of the longest prompt.

    Returns:
        A batch of shape [prompt, position].

    Raises:
        VesaliusError: as :func:`encode_prompts`.

    Source: arXiv 2104.08696, section 3.1; tokens said before are teacher forcing.
    """
    if specimen.task in ("classifier", "image-classifier"):
        raise VesaliusError(
            given=f"{specimen.name}, a model with the task {specimen.task!r}",
            expected="a language model, which answers prompts with words",
            fix="open a masked, causal or sequence-to-sequence language model",
        )
    need_tokenizer(specimen)
    if isinstance(prompts, str) or not prompts:
        raise VesaliusError(
            given="no list of prompts" if prompts else "no prompts",
            expected="at least one text",
            fix='pass ["Paris is in [MASK]."]',
        )
    begun = [list(tokens) for tokens in said]
    if specimen.task == "causal-lm":
        return _causal(specimen, [_before_mask(p) for p in prompts], begun, pad_to)
    texts = [_one_mask(p) for p in prompts]
    if specimen.task == "seq2seq-lm":
        return _sequence_to_sequence(specimen, texts, begun, pad_to)
    return _masked(specimen, texts, begun, num_open or [1] * len(texts), pad_to)


def answer_ids(specimen: Specimen, answers: Sequence[str]) -> Int[Tensor, " batch"]:
    """Look up answers that must each be one token of the vocabulary.

    Args:
        specimen: the opened model.
        answers: words, as they stand in running text.

    Returns:
        Shape [batch].

    Raises:
        VesaliusError: an answer that is unknown or takes several tokens; its pieces are shown.

    Source: arXiv 2104.08696, section 3 (single-token answers).
    """
    return torch.tensor([one_token(specimen, answer) for answer in answers], device=specimen.device)


def one_token(specimen: Specimen, answer: str, *, led: bool = True) -> int:
    """Look up one answer that must be one token; ``led`` says that a space stands before it.

    Shapes do not matter here.

    Raises:
        VesaliusError: an answer that is unknown or takes several tokens; its pieces are shown.

    Source: arXiv 2104.08696, section 3 (single-token answers).
    """
    cuts = _cuts(specimen, answer, led=led)
    single = [cut[0] for cut in cuts if len(cut) == 1]
    if not single:
        word = answer.strip()
        shown = specimen.tokenizer.convert_ids_to_tokens(cuts[0]) if cuts else ["(unknown)"]
        raise VesaliusError(
            given=f"answer {word!r}, which this tokenizer cuts into {shown}",
            expected="an answer that is one token of the vocabulary",
            fix="choose a one-token answer or another model, or ask for the target "
            "sequence-log-probability, which takes answers of several tokens",
        )
    return single[0]


def answer_tokens(specimen: Specimen, answer: str, *, led: bool = True) -> list[int]:
    """Cut one answer into its tokens, as few as its spellings allow; shapes do not matter here.

    Raises:
        VesaliusError: an empty answer, or one with a piece that the vocabulary does not have.

    Source: teacher forcing of arXiv 2202.05262.
    """
    cuts = _cuts(specimen, answer, led=led)
    if not cuts:
        raise VesaliusError(
            given=f"answer {answer.strip()!r}, of which the tokenizer does not know a piece",
            expected="an answer that the vocabulary can spell",
            fix="check its spelling, or choose another answer or another model",
        )
    return min(cuts, key=len)


def _cuts(specimen: Specimen, answer: str, *, led: bool) -> list[list[int]]:
    """The known spellings of an answer in tokens that fit what stands before it.

    Byte-level vocabularies hold a word behind a space and at the start of a text as two tokens;
    one of them is never taken for the other.
    """
    tokenizer = need_tokenizer(specimen)
    word = not_empty(answer).strip()
    spellings = [f" {word}", word] if led else [word, f" {word}"]
    cuts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in spellings]
    known = [cut for cut in cuts if cut and tokenizer.unk_token_id not in cut]
    # some vocabularies mark the space in the token, some write it themselves, some know none
    heads: list[str] = [tokenizer.convert_ids_to_tokens(cut[0]) for cut in known]
    marked = [head.startswith(("Ġ", "▁")) for head in heads]
    fitting = [cut for cut, is_marked in zip(known, marked, strict=True) if is_marked == led]
    return fitting or known


def need_tokenizer(specimen: Specimen) -> Any:
    """Give the tokenizer of a model, no shapes.

    Raises:
        VesaliusError: there is none.

    Source: this project.
    """
    if specimen.tokenizer is None:
        raise VesaliusError(
            given=f"{specimen.name} without a tokenizer",
            expected="a model opened with its tokenizer",
            fix="pass it: vesalius.open(model, tokenizer=tokenizer)",
        )
    return specimen.tokenizer


def not_empty(text: str) -> str:
    """Give back a text with something in it, no shapes.

    Raises:
        VesaliusError: there is nothing in it.

    Source: this project.
    """
    if not text.strip():
        raise VesaliusError(
            given="an empty text", expected="words", fix="write a sentence with [MASK] in it"
        )
    return text


def _one_mask(prompt: str) -> str:
    count = not_empty(prompt).count(MASK)
    if count != 1:
        raise VesaliusError(
            given=f"{count} masks in {prompt!r}",
            expected=f"the word {MASK} exactly once",
            fix="write the prompt with one gap, such as 'The capital of France is [MASK].'",
        )
    return prompt


def _before_mask(prompt: str) -> str:
    before, _, after = not_empty(prompt).partition(MASK)
    if after.strip(" .!?\n"):
        raise VesaliusError(
            given=f"{prompt!r}: words after the gap, and a model that reads from left to right",
            expected="a prompt that ends where the answer begins",
            fix="put [MASK] at the end, or open a masked language model",
        )
    return not_empty(before).rstrip()


def _ids(specimen: Specimen, text: str) -> list[int]:
    ids: list[int] = specimen.tokenizer(text)["input_ids"]
    check_length(specimen, len(ids))
    return ids


def check_length(specimen: Specimen, num_tokens: int) -> None:
    """Insist that a text fits the positions of a model, no shapes.

    Raises:
        VesaliusError: it is longer.

    Source: this project.
    """
    limit = specimen.max_tokens
    if limit is not None and num_tokens > limit:
        raise VesaliusError(
            given=f"a text of {num_tokens} tokens",
            expected=f"at most {limit} tokens, the positions of {specimen.name}",
            fix="shorten the text",
        )


def _open_ended(specimen: Specimen, text: str) -> list[int]:
    """Token ids without the special tokens that the tokenizer sets behind a text."""
    ids, tokenizer = _ids(specimen, text), specimen.tokenizer
    special: set[int] = set(tokenizer.all_special_ids)
    plain: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    added = _num_trailing(ids, special) - _num_trailing(plain, special)
    return ids[: len(ids) - max(added, 0)]


def _num_trailing(ids: Sequence[int], special: set[int]) -> int:
    return sum(1 for _ in takewhile(special.__contains__, reversed(ids)))


def _masked(
    specimen: Specimen,
    prompts: Sequence[str],
    said: Sequence[list[int]],
    num_open: Sequence[int],
    pad_to: int | None,
) -> Batch:
    tokenizer = specimen.tokenizer
    if tokenizer.mask_token is None:
        raise VesaliusError(
            given=f"{specimen.name}: a tokenizer without a mask token",
            expected="a masked language model with its mask token",
            fix="set tokenizer.mask_token, or open another checkpoint",
        )
    mask: int = tokenizer.mask_token_id
    ids: list[list[int]] = []
    rows: list[int] = []
    for prompt, tokens, count in zip(prompts, said, num_open, strict=True):
        found = _ids(specimen, prompt.replace(MASK, tokenizer.mask_token))
        gap = _gap_of(prompt, found, mask, name=tokenizer.mask_token)
        ids.append([*found[:gap], *tokens, *[mask] * count, *found[gap + 1 :]])
        rows.append(gap + len(tokens))
    inputs = pad_ids(specimen, ids, left=False, pad_to=pad_to)
    return Batch(inputs=inputs, row=torch.tensor(rows)).to(specimen.device)


def _gap_of(prompt: str, ids: Sequence[int], mask: int, *, name: str) -> int:
    """The place of the one mask; a prompt may hold the tokenizer's own word for it as well."""
    if ids.count(mask) != 1:
        raise VesaliusError(
            given=f"{prompt!r}, in which the tokenizer sees {ids.count(mask)} masks ({name})",
            expected=f"the word {MASK} as the only mask",
            fix=f"write {MASK} for the gap, and leave {name} out of the text",
        )
    return ids.index(mask)


def _causal(
    specimen: Specimen, prompts: Sequence[str], said: Sequence[list[int]], pad_to: int | None
) -> Batch:
    ids = [[*_open_ended(specimen, p), *t] for p, t in zip(prompts, said, strict=True)]
    inputs = pad_ids(specimen, ids, left=True, pad_to=pad_to)
    if accepts(specimen.model, "position_ids"):
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(1) - 1).clamp_min(0)
    row = torch.full((len(ids),), inputs["input_ids"].shape[1] - 1)
    return Batch(inputs=inputs, row=row).to(specimen.device)


def _sequence_to_sequence(
    specimen: Specimen, prompts: Sequence[str], said: Sequence[list[int]], pad_to: int | None
) -> Batch:
    """T5 answers ``<extra_id_0> answer``; BART's decoder is read right behind its start token."""
    tokenizer, config = specimen.tokenizer, specimen.model.config
    sentinel = tokenizer.mask_token or "<extra_id_0>"
    ids = [_ids(specimen, p.replace(MASK, sentinel)) for p in prompts]
    gap = tokenizer.convert_tokens_to_ids(sentinel)
    places = [_gap_of(p, i, gap, name=sentinel) for p, i in zip(prompts, ids, strict=True)]
    row = torch.tensor(places)
    inputs = pad_ids(specimen, ids, left=False, pad_to=pad_to)
    start: Any = getattr(config, "decoder_start_token_id", None)
    begun = [start if start is not None else tokenizer.pad_token_id]
    begun += [gap] if tokenizer.mask_token is None else []
    written = [[*begun, *tokens] for tokens in said]
    # a decoder reads from the left: what fills up behind the last token changes nothing before it
    inputs["decoder_input_ids"] = pad_ids(specimen, written, left=False)["input_ids"]
    decoder_row = torch.tensor([len(tokens) - 1 for tokens in written])
    return Batch(inputs=inputs, row=row, decoder_row=decoder_row).to(specimen.device)


def pad_ids(
    specimen: Specimen, ids: list[list[int]], *, left: bool, pad_to: int | None = None
) -> dict[str, Tensor]:
    """Fill token ids up to the longest, or to ``pad_to``: ids and mask, [prompt, position].

    Raises:
        VesaliusError: an entry longer than ``pad_to`` or than the model.

    Source: padding as in the tokenizers of the transformers library.
    """
    longest = max(map(len, ids))
    if pad_to is not None and longest > pad_to:
        raise VesaliusError(
            given=f"a prompt of {longest} tokens and pad_to={pad_to}",
            expected="prompts that fit what they are padded to",
            fix="shorten the prompt, or leave pad_to (preset 'paper') out",
        )
    longest = longest if pad_to is None else pad_to
    check_length(specimen, longest)
    filler = specimen.tokenizer.pad_token_id
    filler = 0 if filler is None else filler
    padded = torch.full((len(ids), longest), filler)
    mask = torch.zeros_like(padded)
    for i, tokens in enumerate(ids):
        place = slice(longest - len(tokens), None) if left else slice(0, len(tokens))
        padded[i, place] = torch.tensor(tokens)
        mask[i, place] = 1
    return {"input_ids": padded, "attention_mask": mask}
