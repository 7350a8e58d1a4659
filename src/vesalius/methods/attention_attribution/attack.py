"""Put triggers into texts and see the classifier's accuracy fall, or not, beside controls."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from jaxtyping import Int

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.checks import check_count, check_word
from vesalius.core.errors import VesaliusError
from vesalius.methods.attention_attribution.attack_controls import (
    ATTENTION,
    CONTROLS,
    RANDOM,
    DrawnControl,
    draw_controls,
)
from vesalius.methods.attention_attribution.attack_reading import (
    class_names,
    need_causal,
    predict_classes,
    same_classes,
    text_perplexities,
    tokens_of,
    transferred_classes,
)
from vesalius.methods.attention_attribution.attack_result import Attack, Fluency, Transfer
from vesalius.methods.attention_attribution.attack_tables import attack_verdict
from vesalius.methods.attention_attribution.heads import text_hashes
from vesalius.methods.attention_attribution.insertion import Added, insert_tokens
from vesalius.methods.attention_attribution.targets import Target
from vesalius.methods.attention_attribution.trigger_result import Trigger, Triggers
from vesalius.methods.attention_attribution.triggers import gold_classes
from vesalius.models.specimen import Specimen
from vesalius.models.texts import TokenisedTexts
from vesalius.models.token_words import token_words
from vesalius.parallel.memory import parse_bytes

DEFAULT_TRIGGERS: Final = 3  # as many as table 5 of the paper has


def attack(
    specimen: Specimen,
    texts: Sequence[str],
    triggers: Triggers,
    *,
    labels: Target | Sequence[Target],
    pairs: Sequence[str] | None = None,
    num_triggers: int = DEFAULT_TRIGGERS,
    controls: Sequence[str] = CONTROLS,
    num_controls: int = 10,
    transfer: Specimen | None = None,
    language_model: Specimen | None = None,
    memory: str = "1GiB",
    seed: int = 0,
) -> Attack:
    """Put the strongest triggers into every text, and compare accuracy with and without them.

    Texts are tokenised once; :mod:`insertion` says where tokens go. No shapes.

    Args:
        specimen: the classifier to attack.
        texts: others than those the triggers were found in.
        triggers: from :func:`find_triggers`.
        labels: the right classes.
        pairs: the second texts.
        num_triggers: so many of the strongest.
        controls: of ``random``, ``frequency`` and ``attention``; see :func:`draw_controls`.
        num_controls: sets of each kind for each trigger.
        transfer: another classifier with the same class names, to read the same texts.
        language_model: a causal one, for the perplexity of the texts.
        memory: what one run of a model may take.
        seed: of controls and intervals.

    Raises:
        VesaliusError: models, labels, texts or triggers that do not fit.

    Source: arXiv 2004.11207, section 4.5, and its code; controls, transfer and perplexity: ours.
    """
    stopwatch = Stopwatch.start()
    names = _checked_names(specimen, transfer, language_model)
    _check(specimen, triggers, pairs, num_triggers, controls, num_controls)
    clean = tokens_of(specimen, texts, pairs)
    gold = gold_classes(specimen, labels, len(clean))
    chosen = triggers.triggers[:num_triggers]
    drawn = draw_controls(specimen, clean, chosen, kinds=_kinds(controls, triggers),
                          found=triggers, num_controls=num_controls, seed=seed)  # fmt: skip
    attacked = [insert_tokens(clean, t.added(), limit=specimen.max_tokens) for t in chosen]
    sets = _Sets(clean, attacked, drawn)
    read = _Read.of(specimen, transfer, language_model, sets, parse_bytes(memory))
    config = {"num_triggers": num_triggers, "controls": list(controls), "num_texts": len(clean),
              "num_controls": num_controls, "triggers": triggers.card.config}  # fmt: skip
    num_shared = len(set(triggers.text_hashes) & set(text_hashes(list(texts), pairs)))
    found = Attack(
        card=make_card("attention attack", stopwatch=stopwatch, config=config, seed=seed,
                       model=specimen.name, model_fingerprint=specimen.fingerprint,
                       warnings=_warnings(sets, controls, triggers, num_shared, read.num_cut)),
        class_names=names, triggers=chosen, controls=tuple(each.control for each in drawn),
        gold=gold, verdict="", **read.fields(),
    )  # fmt: skip
    return replace(found, verdict=attack_verdict(found))


@dataclass(frozen=True, slots=True)
class _Sets:
    """The texts: clean, with each trigger, and what each control puts in."""

    clean: TokenisedTexts
    attacked: list[TokenisedTexts]
    drawn: list[DrawnControl]


@dataclass(frozen=True, slots=True)
class _Read:
    """What the models say; ``num_cut`` texts did not fit the other model."""

    clean: np.ndarray
    attacked: np.ndarray
    controlled: np.ndarray
    transfer: Transfer | None
    fluency: Fluency | None
    num_cut: int

    def fields(self) -> dict[str, Any]:
        """Everything but the count, under the names that the result has for it."""
        names = ("clean", "attacked", "controlled", "transfer", "fluency")
        return {name: getattr(self, name) for name in names}

    @staticmethod
    def of(
        specimen: Specimen,
        transfer: Specimen | None,
        language_model: Specimen | None,
        sets: _Sets,
        memory: int,
    ) -> "_Read":
        moved, num_cut = _transfer(specimen, transfer, sets, memory)
        return _Read(
            clean=predict_classes(specimen, sets.clean, memory_bytes=memory),
            attacked=np.stack(
                [predict_classes(specimen, each, memory_bytes=memory) for each in sets.attacked]
            ),
            controlled=_controlled(specimen, sets, memory),
            transfer=moved,
            fluency=_fluency(specimen, language_model, sets, memory),
            num_cut=num_cut,
        )


def _checked_names(
    specimen: Specimen, transfer: Specimen | None, language_model: Specimen | None
) -> tuple[str, ...]:
    """The classes, once all models are known to fit."""
    names = class_names(specimen)
    if transfer is not None:
        same_classes(specimen, transfer)
    if language_model is not None:
        need_causal(language_model)
    return names


def _kinds(controls: Sequence[str], triggers: Triggers) -> list[str]:
    """The controls that can be taken: raw attention finds nothing, or was the measure itself."""
    return [kind for kind in controls if kind != ATTENTION or triggers.attention]


def _warnings(
    sets: _Sets, controls: Sequence[str], triggers: Triggers, num_shared: int, num_moved_cut: int
) -> list[str]:
    num_cut = sets.clean.num_cut
    counted = (
        (num_shared, "of the texts are among those the triggers were found in"),
        (num_cut, "texts were longer than the model and were cut"),
        (max(t.num_cut for t in sets.attacked) - num_cut, "texts were cut to make room"),
        (num_moved_cut, "texts were cut to fit the other model, triggers counted apart"),
    )
    found = [f"{number} {words}" for number, words in counted if number]
    if len(_kinds(controls, triggers)) < len(controls):
        found.append("no control by attention: these triggers bring no such patterns")
    return found


def _check(
    specimen: Specimen,
    triggers: Triggers,
    pairs: Sequence[str] | None,
    num_triggers: int,
    controls: Sequence[str],
    num_controls: int,
) -> None:
    check_count("num_triggers", num_triggers, lowest=1, usual=DEFAULT_TRIGGERS)
    check_count("num_controls", num_controls, lowest=1, usual=10)
    for kind in [controls] if isinstance(controls, str) else controls:
        check_word("controls", kind, CONTROLS)
    if isinstance(controls, str):
        raise VesaliusError(
            given=f"controls={controls!r}", expected="a list of kinds", fix=f"use [{controls!r}]"
        )
    if not triggers.triggers:
        raise VesaliusError(
            given=f"no triggers: {triggers.verdict}",
            expected="at least one",
            fix="look in more texts, or with a lower min_score (--min-score)",
        )
    everyone = (*triggers.triggers, *triggers.attention)
    if strange := [t for t in everyone if not _is_spelled(specimen, t)]:
        raise VesaliusError(
            given=f"trigger “{strange[0].name}” of {triggers.card.model}, whose tokens are others "
            f"for {specimen.name}",
            expected="a model with the same tokenizer",
            fix="find triggers on this model, or pass the other one as transfer",
        )
    if pairs is None and any(1 in t.owners for t in everyone):
        raise VesaliusError(
            given="single texts, and triggers with tokens of second texts",
            expected="pairs of texts, as they were found in",
            fix="pass pairs=[...] too",
        )


def _is_spelled(specimen: Specimen, trigger: Trigger) -> bool:
    model: Any = specimen.model
    limit: int = model.get_input_embeddings().num_embeddings
    if any(i >= limit for i in trigger.ids):
        return False
    return token_words(specimen, trigger.ids).tokens == trigger.tokens


def _controlled(specimen: Specimen, sets: _Sets, memory: int) -> Int[np.ndarray, "control text"]:
    """The classes with each control; triggers of one class share the patterns of raw attention."""
    known: dict[tuple[Added, ...], np.ndarray] = {}
    for each in sets.drawn:
        if each.added not in known:
            tokens = insert_tokens(sets.clean, each.added, limit=specimen.max_tokens)
            known[each.added] = predict_classes(specimen, tokens, memory_bytes=memory)
    rows = [known[each.added] for each in sets.drawn]
    return np.stack(rows) if rows else np.zeros((0, len(sets.clean)), dtype=np.int64)


def _transfer(
    specimen: Specimen, other: Specimen | None, sets: _Sets, memory: int
) -> tuple[Transfer | None, int]:
    """What the other model says, and how many texts it had to cut; clean ones are rewritten too."""
    if other is None:
        return None, 0
    rows = [
        transferred_classes(specimen, other, tokens, memory_bytes=memory)
        for tokens in (sets.clean, *sets.attacked)
    ]
    random = [each for each in sets.drawn if each.control.kind == RANDOM]
    controls = np.zeros((len(random), len(sets.clean)), dtype=np.int64)
    for row, each in enumerate(random):
        tokens = insert_tokens(sets.clean, each.added, limit=specimen.max_tokens)
        controls[row], _ = transferred_classes(specimen, other, tokens, memory_bytes=memory)
    moved = Transfer(
        model=other.name,
        fingerprint=other.fingerprint,
        clean=rows[0][0],
        attacked=np.stack([classes for classes, _ in rows[1:]]),
        random=controls,
    )
    return moved, sum(num_cut for _, num_cut in rows)


def _fluency(
    specimen: Specimen, model: Specimen | None, sets: _Sets, memory: int
) -> Fluency | None:
    if model is None:
        return None
    rows = [
        text_perplexities(specimen, model, tokens, memory_bytes=memory)
        for tokens in (sets.clean, *sets.attacked)
    ]
    return Fluency(
        model=model.name,
        fingerprint=model.fingerprint,
        clean=rows[0],
        attacked=np.stack(rows[1:]),
    )
