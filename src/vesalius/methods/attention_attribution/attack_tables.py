"""An attack as tables and in one sentence."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from vesalius.methods.attention_attribution.attack_controls import ATTENTION, FREQUENCY, RANDOM
from vesalius.methods.attention_attribution.attack_drops import class_drops, worst_class

if TYPE_CHECKING:
    from vesalius.methods.attention_attribution.attack_result import Attack

_NAMES: Final = {
    RANDOM: "random words",
    FREQUENCY: "tokens as frequent",
    ATTENTION: "patterns of raw attention",
}


def class_table(found: "Attack") -> pa.Table:
    """One row per trigger and class: accuracies with intervals, flips, the mean over controls.

    Source: table 5 of arXiv 2004.11207.
    """
    rows: list[dict[str, Any]] = []
    for number, trigger in enumerate(found.triggers):
        for gold in found.classes:
            clean, after = found.accuracy(gold), found.accuracy(gold, number)
            change = found.difference(gold, number)
            rows.append(
                {
                    "trigger": number + 1,
                    "pattern": trigger.name,
                    "found_on": trigger.label,
                    "class": found.class_names[gold],
                    "texts": int((found.gold == gold).sum()),
                    "clean": clean.estimate,
                    "clean_low": clean.low,
                    "clean_high": clean.high,
                    "attacked": after.estimate,
                    "attacked_low": after.low,
                    "attacked_high": after.high,
                    "difference": change.mean.estimate,
                    "difference_low": change.mean.low,
                    "difference_high": change.mean.high,
                    "p_value": change.p_value,
                    "flipped": found.flipped(gold, number),
                    **_controls(found, number, gold),
                    **_transfer(found, number, gold),
                }
            )
    return pa.Table.from_pylist(rows)


def summary_table(found: "Attack") -> pa.Table:
    """One row per trigger and kind of control: drop of the worst class, theirs, the difference.

    Source: this project.
    """
    rows: list[dict[str, Any]] = []
    for number, trigger in enumerate(found.triggers):
        by_kind = [(kind, found.compare(number, kind)) for kind in found.kinds]
        if found.transfer is not None:
            name = f"{RANDOM}, on {found.transfer.model}"
            by_kind.append((name, found.compare_transfer(number)))
        for kind, each in by_kind:
            if each is None:
                continue
            rows.append(
                {
                    "trigger": number + 1,
                    "pattern": trigger.name,
                    "control": kind,
                    "worst_class": each.worst,
                    "drop": each.drop,
                    "control_drop": each.control_drop,
                    "control_lowest": each.lowest,
                    "control_highest": each.highest,
                    "difference": each.difference.estimate,
                    "low": each.difference.low,
                    "high": each.difference.high,
                    "beats": each.beats,
                    "weaker_controls": each.num_weaker,
                    "controls": each.num_controls,
                }
            )
    return pa.Table.from_pylist(rows)


def attack_verdict(found: "Attack") -> str:
    """Say what the strongest trigger does, and whether the triggers beat their controls.

    Source: this project.
    """
    drops = [largest_drop(found, number) for number in range(len(found.triggers))]
    best = int(np.argmax([drop for drop, _ in drops]))
    gold = drops[best][1]
    before, after = found.accuracy(gold), found.accuracy(gold, best)
    told = (
        f"“{found.triggers[best].name}”, the strongest of {len(found.triggers)} in "
        f"{len(found.gold)} texts, moves the accuracy on “{found.class_names[gold]}” from "
        f"{before.estimate:.1%} to {after.estimate:.1%}"
    )
    words = [_in_words(found, best, kind) for kind in found.kinds]
    compared = [*filter(None, words), *(_wins(found) if len(found.triggers) > 1 else ())]
    return f"{told}; {'; '.join(compared)}." if compared else f"{told}; no controls were taken."


def _wins(found: "Attack") -> list[str]:
    """Of how many triggers each kind of control takes less."""
    told: list[str] = []
    for kind in found.kinds:
        pairs = [found.compare(number, kind) for number in range(len(found.triggers))]
        there = [each for each in pairs if each is not None]
        wins = sum(each.beats for each in there)
        told.append(f"{wins} of {len(there)} triggers beat {_NAMES[kind]}")
    return told


def _in_words(found: "Attack", number: int, kind: str) -> str:
    each = found.compare(number, kind)
    if each is None:
        return ""
    gap = each.difference
    return (
        f"{_NAMES[kind]} take {100 * each.control_drop:.1f} points (the {each.num_controls} sets: "
        f"{100 * each.lowest:.1f} to {100 * each.highest:.1f}), the trigger "
        f"{100 * gap.estimate:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f}) more: it "
        f"{'beats them' if each.beats else 'does not beat them'}"
    )


def largest_drop(found: "Attack", number: int) -> tuple[float, int]:
    """Give the accuracy that a trigger takes from the class it hurts most, and that class.

    Source: this project; no shapes.
    """
    before, after = found.clean == found.gold, found.attacked[number] == found.gold
    drops = class_drops(before, after[None], found.gold)[0]
    return float(drops.max()), worst_class(drops, found.classes)


def _controls(found: "Attack", number: int, gold: int) -> dict[str, float | None]:
    here = found.gold == gold
    means: dict[str, float | None] = {}
    for kind in found.kinds:
        mine = [i for i, c in enumerate(found.controls) if (c.trigger, c.kind) == (number, kind)]
        right = found.controlled[mine][:, here] == gold
        means[f"{kind}_controls"] = float(right.mean()) if len(mine) else None
    return means


def _transfer(found: "Attack", number: int, gold: int) -> dict[str, float]:
    if found.transfer is None:
        return {}
    here = found.gold == gold
    return {
        "transfer_clean": float((found.transfer.clean[here] == gold).mean()),
        "transfer_attacked": float((found.transfer.attacked[number, here] == gold).mean()),
    }
