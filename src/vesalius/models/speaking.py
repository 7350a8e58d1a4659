"""What a model says when nothing is put into its mouth, and how fluently it says it."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.batch import Batch
from vesalius.models.encoding import answer_tokens, encode_gaps, encode_prompts
from vesalius.models.ladder import accepts, run_model
from vesalius.models.reading import checked_logits, row_logits, runs_of
from vesalius.models.specimen import Specimen
from vesalius.models.texts import encode_texts


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What a model put into a gap: its tokens, and the text they spell."""

    tokens: tuple[int, ...]
    text: str


def speak(
    specimen: Specimen, prompts: Sequence[str], *, num_tokens: int | Sequence[int]
) -> tuple[Spoken, ...]:
    """Let a model go on from its prompts by itself, always with its best token.

    A causal LM continues the text before the gap. A masked LM sees as many masks as tokens are
    wanted and fills them from left to right. A sequence-to-sequence model decodes greedily. A text
    ends early where the model ends it. Neither a generation configuration nor a random number
    plays a part.

    Args:
        specimen: the opened model.
        prompts: texts with ``[MASK]``.
        num_tokens: how many tokens at most, for all prompts or for each.

    Returns:
        One text per prompt.

    Raises:
        VesaliusError: no tokens, a prompt that cannot be encoded or has no room for the tokens.

    Source: greedy decoding; free generation beside teacher forcing, arXiv 2502.11177.
    """
    counts = [num_tokens] * len(prompts) if isinstance(num_tokens, int) else list(num_tokens)
    if len(counts) != len(prompts) or any(count < 1 for count in counts):
        raise VesaliusError(
            given=f"num_tokens={num_tokens!r} for {len(prompts)} prompts",
            expected="one number from 1, or one for each prompt",
            fix="use num_tokens=5",
        )
    cached = specimen.task == "causal-lm" and accepts(specimen.model, "past_key_values")
    said = _continued(specimen, prompts, counts) if cached else _filled(specimen, prompts, counts)
    ends = _ends(specimen)
    cut = [_until(tokens, ends) for tokens in said]
    return tuple(Spoken(tokens=tuple(t), text=text_of(specimen, t)) for t in cut)


def room_for(specimen: Specimen, prompts: Sequence[str], wanted: int) -> int:
    """Tell how many tokens, at most ``wanted``, fit behind the longest prompt; no shapes.

    Source: the number of positions in the model's configuration.
    """
    longest = int(encode_prompts(specimen, prompts).inputs["input_ids"].shape[1])
    limit: Any = getattr(specimen.model.config, "max_position_embeddings", None)
    return wanted if not limit else max(0, min(wanted, int(limit) - longest))


def starts_with_answer(specimen: Specimen, text: str, answer: str) -> bool:
    """Tell whether a text begins with an answer as whole words, as this tokenizer would spell it.

    White space before it does not count; a letter or a figure after it makes another word.
    No shapes.

    Source: this project; an uncased tokenizer says "paris".
    """
    wanted = text_of(specimen, answer_tokens(specimen, answer))
    given = text.strip()
    return given.startswith(wanted) and not given[len(wanted) : len(wanted) + 1].isalnum()


def _continued(
    specimen: Specimen, prompts: Sequence[str], counts: Sequence[int]
) -> list[list[int]]:
    """Continue texts with the key/value cache, prompts padded on the left."""
    batch = encode_prompts(specimen, prompts)
    most = max(counts)
    # the last token is never read: one position less than a text with all of them
    encode_prompts(specimen, prompts, pad_to=batch.inputs["input_ids"].shape[1] + most - 1)
    columns: list[Tensor] = []
    with specimen.at_rest(), torch.no_grad():
        for rows in runs_of(specimen, batch):
            columns.append(_with_cache(specimen, batch.select(rows), most))
    said: list[list[int]] = torch.cat(columns).tolist()
    return [tokens[:count] for tokens, count in zip(said, counts, strict=True)]


def _with_cache(specimen: Specimen, batch: Batch, most: int) -> Int[Tensor, "batch step"]:
    model: Any = specimen.model
    inputs = dict(batch.inputs)
    last_only = {"logits_to_keep": 1} if accepts(model, "logits_to_keep") else {}
    ends = torch.tensor(sorted(_ends(specimen)), device=batch.row.device, dtype=torch.long)
    ended = torch.zeros_like(batch.row, dtype=torch.bool)
    said: list[Tensor] = []
    cache = None
    while len(said) < most:
        out = model(**inputs, past_key_values=cache, use_cache=True, **last_only)
        token = checked_logits(specimen, out.logits[:, -1]).argmax(1)
        said.append(token)
        ended |= torch.isin(token, ends)
        if bool(ended.all()):
            break
        cache = out.past_key_values
        mask = inputs["attention_mask"]
        inputs["attention_mask"] = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
        inputs["input_ids"] = token.unsqueeze(1)
        if "position_ids" in inputs:
            inputs["position_ids"] = inputs["position_ids"][:, -1:] + 1
    shown = torch.stack(said, dim=1)
    filler = shown[:, -1:].expand(-1, most - shown.shape[1])  # behind the end: cut off later
    return torch.cat((shown, filler), dim=1)


def _filled(specimen: Specimen, prompts: Sequence[str], counts: Sequence[int]) -> list[list[int]]:
    """Fill gaps token by token, the whole prompt read anew each time."""
    said: list[list[int]] = [[] for _ in prompts]
    for step in range(max(counts)):
        open_ones = [i for i, count in enumerate(counts) if step < count]
        batch = encode_gaps(
            specimen,
            [prompts[i] for i in open_ones],
            [said[i] for i in open_ones],
            num_open=[counts[i] - step for i in open_ones],
        )
        best = [row_logits(specimen, batch.select(r)).argmax(1) for r in runs_of(specimen, batch)]
        for i, token in zip(open_ones, torch.cat(best).tolist(), strict=True):
            said[i].append(token)
    return said


def _ends(specimen: Specimen) -> set[int]:
    """The tokens that end a text; a masked LM fills its gap and ends nothing."""
    if specimen.task == "masked-lm":
        return set()
    model: Any = specimen.model
    tokenizer = specimen.tokenizer
    named: list[Any] = [
        tokenizer.eos_token_id,
        getattr(model.config, "eos_token_id", None),
        getattr(getattr(model, "generation_config", None), "eos_token_id", None),
    ]
    ends: set[int] = set()
    for each in named:  # a number, several, or none
        several: list[Any] = each if isinstance(each, list) else [each]
        ends.update(end for end in several if isinstance(end, int))
    if specimen.task == "seq2seq-lm":  # T5 closes a gap with the next sentinel
        ends |= {
            number
            for token, number in tokenizer.get_vocab().items()
            if re.fullmatch(r"<extra_id_\d+>", token)
        }
    return ends


def _until(tokens: Sequence[int], ends: set[int]) -> list[int]:
    stop = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[:stop])


def text_of(specimen: Specimen, tokens: Sequence[int]) -> str:
    """Spell tokens as people read them, white space around them left out; no shapes.

    Source: the tokenizer's own decoding.
    """
    text = specimen.tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)
    return str(text).strip()


def ngram_entropy(text: str) -> float:
    """Measure in bits how varied a text is: weighted entropies of its pairs and triples of words.

    The mean of 2/3 of the entropy of pairs and 4/3 of that of triples; 0 for a text that says one
    thing over and over. Words are runs of letters and figures, and single signs. No shapes.

    Source: the fluency of arXiv 2202.05262, section 3.3, with its published weights; its words
    come from another word cutter, so that the last digits differ.
    """
    words = re.findall(r"\w+|[^\w\s]", text)
    return (2 / 3 * _entropy(words, 2) + 4 / 3 * _entropy(words, 3)) / 2


def _entropy(words: Sequence[str], size: int) -> float:
    grams = Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))
    total = sum(grams.values())
    return -sum(n / total * math.log2(n / total) for n in grams.values()) + 0.0


def sentence_perplexity(specimen: Specimen, sentences: Sequence[str]) -> float | None:
    """Measure how well a model expects plain sentences: exp of its mean surprise per token.

    A causal LM reads from left to right, from the second token on; a masked LM has each token
    hidden in turn (pseudo-perplexity). Special and unknown tokens do not count.

    Returns:
        The perplexity; None for a sequence-to-sequence model, and where no token counts.

    Raises:
        VesaliusError: a sentence that cannot be encoded.

    Source: Salazar et al. 2020, arXiv 1910.14659 (pseudo-log-likelihood); no shapes change hands.
    """
    if specimen.task == "seq2seq-lm":
        return None
    if not sentences:
        return None
    surprises = _surprises(specimen, sentences)
    return float(surprises.mean().exp()) if len(surprises) else None


def _surprises(specimen: Specimen, sentences: Sequence[str]) -> Float[Tensor, " token"]:
    encoded = encode_texts(specimen, sentences).inputs  # padded on the right
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    skipped = torch.tensor(specimen.tokenizer.all_special_ids, device=ids.device, dtype=torch.long)
    counted = (mask == 1) & ~torch.isin(ids, skipped)
    if specimen.task == "causal-lm":
        counted[:, 0] = False  # nothing stands before it
    sentence, place = counted.nonzero(as_tuple=True)
    if not len(place):
        return torch.zeros(0)
    if specimen.task == "causal-lm":  # one pass reads all tokens
        batch = Batch(inputs=encoded, row=torch.zeros_like(ids[:, 0]))
        with specimen.at_rest(), torch.no_grad():
            every = run_model(specimen.model, batch).logits
        logits = checked_logits(specimen, every[sentence, place - 1])
    else:
        shown = ids[sentence]
        shown[torch.arange(len(place)), place] = specimen.tokenizer.mask_token_id
        batch = Batch(inputs={"input_ids": shown, "attention_mask": mask[sentence]}, row=place)
        runs = runs_of(specimen, batch)
        logits = torch.cat([row_logits(specimen, batch.select(rows)) for rows in runs])
    return -logits.log_softmax(-1).gather(1, ids[sentence, place].unsqueeze(1))[:, 0].cpu()
