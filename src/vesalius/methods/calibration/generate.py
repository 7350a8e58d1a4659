"""Texts that the language model writes itself, after the demonstrations: an estimate set for free.

Source: arXiv 2205.10183, section 2 (estimate sets generated from permuted demonstrations);
arXiv 2310.10266 (generative calibration: inputs sampled from the demonstration prompt).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from vesalius.core.checks import check_count
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_draws import order_demonstrations
from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration.calibrators.score_checks import check_number
from vesalius.models.sampling import sample_texts
from vesalius.models.specimen import Specimen

NUM_TEXTS: Final = 100  # L of generative calibration
_TRIES: Final = 4  # times as many texts are sampled at most: some break the layout
_HOLES: Final = ("\ue000", "\ue001")  # private characters that stand for the texts of a row


@final
@dataclass(frozen=True, kw_only=True)
class GeneratedTexts:
    """Texts written by a model in the layout of a prompt, and how many it took."""

    texts: tuple[tuple[str, ...], ...]
    num_sampled: int  # the others broke the layout, were empty, or repeated one
    num_copied: int  # equal to a demonstration: kept out as well


def generate_texts(
    specimen: Specimen,
    prompt: LabelPrompt,
    *,
    num: int = NUM_TEXTS,
    seed: int = 0,
    num_orders: int = 1,
    num_tokens: int = 128,
    temperature: float = 1.0,
) -> GeneratedTexts:
    """Let the model write rows as those of its demonstrations, without labels; no shapes.

    A row that breaks the layout, repeats another or copies a demonstration is sampled again.

    Args:
        specimen: the opened causal language model.
        prompt: its demonstrations show the model what to write.
        num: rows wanted.
        seed: of the draws.
        num_orders: orders of the demonstrations; 1 keeps theirs, more permute them in turn.
        num_tokens: of a row, at most.
        temperature: of the draws.

    Raises:
        VesaliusError: a number out of range, a model that does not write, a prompt too long for it,
            or no usable row.

    Source: arXiv 2205.10183, section 2.
    """
    check_count("num", num, lowest=1, usual=NUM_TEXTS)
    check_count("num_orders", num_orders, lowest=1, usual=1)
    check_count("num_tokens", num_tokens, lowest=1, usual=128)
    check_number("temperature", temperature, above=0, usual=1)
    shown = {row.texts for row in prompt.demonstrations}
    found: dict[tuple[str, ...], None] = {}
    num_sampled = num_copied = 0
    for turn in range(_TRIES * num_orders):
        missing = num - len(found)
        if missing <= 0:
            break
        share = -(-missing // max(1, num_orders - turn))
        ordered = prompt if num_orders == 1 else _reordered(prompt, turn, seed)
        draws = derive_seed(seed, "generate", turn)
        rows = _sampled(specimen, ordered, share, draws, num_tokens, temperature)
        num_sampled += share
        num_copied += sum(row in shown for row in rows)
        found |= dict.fromkeys(row for row in rows if row not in shown)
    if not found:
        raise VesaliusError(
            given=f"{num_sampled} texts sampled from {specimen.name}, none in the prompt's layout",
            expected="texts as those of the demonstrations",
            fix="show more demonstrations, or estimate from texts of your own",
        )
    return GeneratedTexts(texts=tuple(found)[:num], num_sampled=num_sampled, num_copied=num_copied)


def _reordered(prompt: LabelPrompt, turn: int, seed: int) -> LabelPrompt:
    demonstrations: Sequence[LabelledRow] = order_demonstrations(
        prompt.demonstrations, derive_seed(seed, "order", turn)
    )
    return replace(prompt, demonstrations=tuple(demonstrations))


def _sampled(
    specimen: Specimen,
    prompt: LabelPrompt,
    num: int,
    seed: int,
    num_tokens: int,
    temperature: float,
) -> list[tuple[str, ...]]:
    """Sample rows and read them back by the layout; what does not fit it is left out."""
    head, pattern, stops = _layout(prompt)
    texts = sample_texts(
        specimen,
        prompt.context() + head.rstrip(),
        num=num,
        stops=stops,
        seed=seed,
        num_tokens=num_tokens,
        temperature=temperature,
    )
    matches = [pattern.fullmatch(text) for text in texts]
    found = [match.groupdict() for match in matches if match]
    return [
        tuple(said.get(f"text{i}", "").strip() for i in range(prompt.num_texts))
        for said in found
        if all(part.strip() for part in said.values())
    ]


def _layout(prompt: LabelPrompt) -> tuple[str, re.Pattern[str], list[str]]:
    """Give what stands before the first text, what a row looks like from there, what ends it.

    A text that the template has twice must be the same twice.
    """
    layout = prompt.query(_HOLES[: prompt.num_texts])
    head, *rest = re.split(f"([{''.join(_HOLES)}])", layout)
    end = rest[-1] or prompt.separator
    literals = [*rest[1:-1:2], end]
    pattern = ""
    for hole, literal in zip(rest[::2], literals, strict=True):
        name = f"text{_HOLES.index(hole)}"
        known = f"(?P<{name}>" in pattern
        pattern += f"(?P={name})" if known else f"(?P<{name}>.+?)"
        pattern += re.escape(literal)
    stops = [end]
    if not any(prompt.separator in literal for literal in literals):
        stops.append(prompt.separator)  # where a row breaks off
    return head, re.compile(pattern, re.DOTALL), [stop for stop in stops if stop]
