"""Find triggers: the tokens that the strongest link of a text ties together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.checks import check_count, check_tolerance, check_word, words_of
from vesalius.core.errors import VesaliusError
from vesalius.methods.attention_attribution.attack_reading import (
    class_names,
    predict_classes,
    tokens_of,
)
from vesalius.methods.attention_attribution.attribute import score_warnings
from vesalius.methods.attention_attribution.config import AttributeConfig, chosen_config
from vesalius.methods.attention_attribution.heads import text_hashes
from vesalius.methods.attention_attribution.inputs import plan_batches
from vesalius.methods.attention_attribution.insertion import relative_places
from vesalius.methods.attention_attribution.scores import scored_batches
from vesalius.methods.attention_attribution.targets import Target, ask, class_index
from vesalius.methods.attention_attribution.trigger_result import Trigger, TriggerKind, Triggers
from vesalius.models.attention_replay import read_attention
from vesalius.models.attention_sites import attention_sites
from vesalius.models.specimen import Specimen
from vesalius.models.texts import SPECIAL, TokenisedTexts
from vesalius.models.token_words import token_words
from vesalius.parallel.memory import parse_bytes

MIN_SCORE: Final = 0.02  # of the two links together, as in the authors' code
MIN_SECOND: Final = 0.2  # of the strongest link, for the second to count: from the same place


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """The two strongest links, (query, key) with their scores, of the head with the strongest."""

    site: int
    head: int
    links: tuple[tuple[int, int], ...]
    scores: tuple[float, ...]

    @property
    def score(self) -> float:
        """The sum of the scores."""
        return sum(self.scores)

    def used(self) -> tuple[tuple[int, int], ...]:
        """Give the links that count: the second one only if it is not much weaker."""
        strong = len(self.scores) > 1 and self.scores[1] >= MIN_SECOND * self.scores[0] > 0
        return self.links if strong else self.links[:1]


def strongest_pattern(matrices: Sequence[Float[np.ndarray, "_ query key"]]) -> Pattern:
    """Find the head with the largest single entry over all sites, and its two largest entries.

    Args:
        matrices: one for each site, [head, query, key]; among equals the first counts.

    Source: arXiv 2004.11207, section 4.5, and its code.
    """
    site = int(np.argmax([matrix.max() for matrix in matrices]))
    head = int(matrices[site].max(axis=(1, 2)).argmax())
    best = matrices[site][head]
    flat = best.ravel()
    order = np.argsort(-flat, kind="stable")[:2].tolist()
    return Pattern(
        site=site,
        head=head,
        links=tuple((place // best.shape[1], place % best.shape[1]) for place in order),
        scores=tuple(float(flat[place]) for place in order),
    )


def find_triggers(
    specimen: Specimen,
    texts: Sequence[str],
    *,
    pairs: Sequence[str] | None = None,
    labels: Target | Sequence[Target] | None = None,
    target: Target | None = None,
    min_tokens: int = 0,
    min_score: float = MIN_SCORE,
    config: AttributeConfig | None = None,
    by: TriggerKind = "attribution",
) -> Triggers:
    """Find patterns of tokens by the strongest links of each text, the strongest patterns first.

    Args:
        specimen: the opened classifier.
        texts: such as training texts; those longer than the model are cut.
        pairs: the second texts.
        labels: the right classes; where given, texts that the model gets wrong are left out.
        target: take only texts that the model gives this class.
        min_tokens: texts with fewer tokens, special ones not counted, are left out.
        min_score: least sum of a text's two strongest links, in units of the target.
        config: as in :func:`attribute`; the predicted class is attributed.
        by: rank links by attribution, or by raw ``attention`` (a control; ``min_score`` plays no
            part in it).

    Raises:
        VesaliusError: no classifier, texts or labels that do not fit, or no text that counts.

    Source: arXiv 2004.11207, section 4.5, and its code. No shapes.
    """
    check_word("by", by, words_of(TriggerKind))
    check_count("min_tokens", min_tokens, lowest=0, usual=0)
    check_tolerance(min_score)
    config = chosen_config(config, None)
    stopwatch = Stopwatch.start()
    names = class_names(specimen)
    tokens = tokens_of(specimen, texts, pairs)
    predicted = predict_classes(specimen, tokens, memory_bytes=parse_bytes(config.memory))
    used = _chosen(specimen, tokens, predicted, labels, target, min_tokens)
    said = [names[i] for i in predicted[used]]
    collect = _by_attribution if by == "attribution" else _by_attention
    patterns, control, warnings = collect(specimen, tokens.select(used), config)
    least = min_score if by == "attribution" else 0.0
    found = _ranked(specimen, tokens, used, said, patterns, least)
    if tokens.num_cut:
        warnings = (*warnings, f"{tokens.num_cut} texts were longer than the model and were cut")
    asked = {"by": by, "target": target, "min_tokens": min_tokens, "min_score": min_score,
             "attribution": config}  # fmt: skip
    return Triggers(
        card=make_card("attention triggers", stopwatch=stopwatch, config=asked, warnings=warnings,
                       model=specimen.name, model_fingerprint=specimen.fingerprint),
        by=by, triggers=found.triggers,
        attention=_ranked(specimen, tokens, used, said, control, 0.0).triggers,
        num_texts=len(tokens), num_used=len(used), num_weak=found.num_weak,
        num_special=found.num_special, text_hashes=text_hashes(list(texts), pairs),
    )  # fmt: skip


def _chosen(
    specimen: Specimen,
    tokens: TokenisedTexts,
    predicted: np.ndarray,
    labels: Target | Sequence[Target] | None,
    target: Target | None,
    min_tokens: int,
) -> list[int]:
    """The numbers of the texts that count."""
    keep = np.ones(len(tokens), dtype=bool)
    if labels is not None:
        keep &= predicted == gold_classes(specimen, labels, len(tokens))
    if target is not None:
        keep &= predicted == class_index(specimen, target)
    counts = np.array([sum(part != SPECIAL for part in owner) for owner in tokens.owner])
    keep &= (counts >= min_tokens) & (counts > 0)
    if not keep.any():
        of_class = "" if target is None else f" of class {target!r}"
        raise VesaliusError(
            given=f"{len(tokens)} texts, none{of_class} with {min_tokens} tokens or more"
            + ("" if labels is None else " that the model gets right"),
            expected="at least one text to find triggers in",
            fix="give more texts, another class, or a lower min_tokens (--min-tokens)",
        )
    return np.flatnonzero(keep).tolist()


def gold_classes(
    specimen: Specimen, labels: Target | Sequence[Target], num_texts: int
) -> np.ndarray:
    """Look up the right classes of texts by name or number; shape [text].

    Raises:
        VesaliusError: an unknown class, or another number of labels than of texts.

    Source: the configuration of the model.
    """
    if not isinstance(labels, str | int) and len(labels) != num_texts:
        raise VesaliusError(
            given=f"{len(labels)} labels for {num_texts} texts",
            expected="one for all, or one for each",
            fix="pass labels=[...] of the same length",
        )
    found = ask(specimen, num_texts, targets=labels, foils=None, kind="probability").targets
    assert found is not None
    return found.cpu().numpy()


def _by_attribution(
    specimen: Specimen, tokens: TokenisedTexts, config: AttributeConfig
) -> tuple[dict[int, Pattern], dict[int, Pattern], tuple[str, ...]]:
    """The pattern of every text by attribution, by raw attention, and what to know about them."""
    batch = tokens.batch(specimen, pad_to=config.pad_to)
    asked = ask(specimen, len(tokens), targets=None, foils=None, kind=config.target)
    found: dict[int, Pattern] = {}
    control: dict[int, Pattern] = {}
    num_open = np.zeros(len(attention_sites(specimen)), dtype=np.int64)
    for scored in scored_batches(specimen, batch, asked, config):
        num_open += (~scored.whole).sum(1).cpu().numpy()
        where = scored.texts.tolist()
        found |= _patterns(specimen, tokens, where, scored.found.attribution)
        control |= _patterns(specimen, tokens, where, scored.found.signal)
    warnings = score_warnings(specimen, config, num_open=num_open, num_texts=len(tokens))
    return found, control, warnings


def _by_attention(
    specimen: Specimen, tokens: TokenisedTexts, config: AttributeConfig
) -> tuple[dict[int, Pattern], dict[int, Pattern], tuple[str, ...]]:
    """The pattern of every text by its attention probabilities; one pass, no gradients."""
    batch = tokens.batch(specimen)
    found: dict[int, Pattern] = {}
    for texts in plan_batches(specimen, batch, memory_bytes=parse_bytes(config.memory)):
        weights, _ = read_attention(specimen, batch.select(texts).trimmed())
        found |= _patterns(specimen, tokens, texts.tolist(), weights)
    return found, {}, ()


def _patterns(
    specimen: Specimen, tokens: TokenisedTexts, texts: Sequence[int], matrices: Sequence[Tensor]
) -> dict[int, Pattern]:
    """The pattern of each text of a batch, padding left out.

    A decoder's rows are one step behind the text, so an encoder-decoder counts by its encoder.
    """
    sites = [site.index for site in attention_sites(specimen) if site.stack != "decoder"]
    found: dict[int, Pattern] = {}
    for place, text in enumerate(texts):
        length = len(tokens.ids[text])
        cut = [matrices[i][place, :, :length, :length].float().cpu().numpy() for i in sites]
        best = strongest_pattern(cut)
        found[text] = replace(best, site=sites[best.site])
    return found


@dataclass(frozen=True, slots=True)
class _Ranked:
    triggers: tuple[Trigger, ...]
    num_weak: int
    num_special: int


def _ranked(
    specimen: Specimen,
    tokens: TokenisedTexts,
    numbers: Sequence[int],
    labels: Sequence[str],
    patterns: dict[int, Pattern],
    min_score: float,
) -> _Ranked:
    """Patterns as triggers, each once, the strongest first; ties keep the order of the texts."""
    best: dict[object, Trigger] = {}
    num_weak = num_special = 0
    for text in sorted(patterns, key=lambda text: (-patterns[text].score, text)):
        if patterns[text].score < min_score:
            num_weak += 1
            continue
        made = _trigger(specimen, tokens, numbers[text], patterns[text], labels[text])
        if not made.ids:
            num_special += 1
            continue
        same = (made.label, made.ids, made.owners)
        known = best.setdefault(same, replace(made, count=0))
        best[same] = replace(known, count=known.count + 1)
    return _Ranked(tuple(best.values()), num_weak, num_special)


def _trigger(
    specimen: Specimen,
    tokens: TokenisedTexts,
    number: int,
    pattern: Pattern,
    label: str,
) -> Trigger:
    """The tokens of a pattern; special ones and those that the vocabulary lacks are dropped."""
    ids, owner = tokens.ids[number], tokens.owner[number]
    read = token_words(specimen, ids)
    relative = relative_places(owner)
    unknown: int | None = specimen.tokenizer.unk_token_id
    used = pattern.used()
    chosen = sorted({end for link in used for end in link})
    chosen = [i for i in chosen if owner[i] != SPECIAL and ids[i] != unknown]
    return Trigger(
        ids=tuple(ids[i] for i in chosen),
        tokens=tuple(read.tokens[i] for i in chosen),
        words=tuple(read.words[read.word[i]] for i in chosen),
        owners=tuple(owner[i] for i in chosen),
        positions=tuple(chosen),
        relative=tuple(relative[i] for i in chosen),
        links=tuple((read.tokens[query], read.tokens[key]) for query, key in used),
        scores=pattern.scores[: len(used)],
        score=pattern.score,
        site=pattern.site,
        head=pattern.head,
        text=number,
        label=label,
    )
