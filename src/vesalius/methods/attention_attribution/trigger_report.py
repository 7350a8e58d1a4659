"""Pictures and self-contained pages about triggers and attacks with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vesalius.core.html import Html, picture, table
from vesalius.methods.attention_attribution.attack_controls import (
    ATTENTION,
    FREQUENCY,
    RANDOM,
)
from vesalius.methods.attention_attribution.attack_result import Attack
from vesalius.methods.attention_attribution.attack_tables import largest_drop
from vesalius.methods.attention_attribution.report import write_page
from vesalius.methods.attention_attribution.trigger_result import Trigger, Triggers
from vesalius.plots.attack_bars import AttackGroup, Bar, attack_bars
from vesalius.plots.score_bars import score_bars
from vesalius.plots.style import figure_bytes

_SHOWN = 20
_CONTROLS = {
    RANDOM: "words of the vocabulary, one token each, at the same places",
    FREQUENCY: "tokens about as frequent in these texts, at the same places",
    ATTENTION: "the patterns of the same class that raw attention finds strongest",
}


def plot_triggers(found: Triggers, *, ax: Any = None) -> Any:
    """Draw the scores of the ten strongest triggers as bars.

    Returns:
        The matplotlib Axes.

    Source: this project.
    """
    shown = found.triggers[:10]
    return score_bars(
        [f"{each.name}  ({each.label})" for each in shown],
        [each.score for each in shown],
        unit=f"the two strongest links together, by {found.by}",
        title=f"Triggers of {found.card.model}",
        ax=ax,
    )


def plot_attack(found: Attack, *, ax: Any = None) -> Any:
    """Draw for every trigger the accuracy on the class that it hurts most, beside its controls.

    Lines are 95 % intervals for clean and attacked texts, the range of all sets for controls.

    Returns:
        The matplotlib Axes.

    Source: table 5 of arXiv 2004.11207.
    """
    groups: list[AttackGroup] = []
    for number, trigger in enumerate(found.triggers):
        gold = largest_drop(found, number)[1]
        before, after = found.accuracy(gold), found.accuracy(gold, number)
        groups.append(
            AttackGroup(
                name=f"{trigger.name} on “{found.class_names[gold]}”",
                clean=Bar(name="clean", value=before.estimate, low=before.low, high=before.high),
                attacked=Bar(name="trigger", value=after.estimate, low=after.low, high=after.high),
                controls=_control_bars(found, number, gold),
            )
        )
    return attack_bars(
        groups, title=f"{found.card.model}, {len(found.gold)} texts with triggers put in", ax=ax
    )


def write_triggers(found: Triggers, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about triggers: a picture, the strongest ones, those of raw attention.

    Args:
        found: the triggers.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    body: list[object] = [found.verdict]
    if found.triggers:
        body.append(picture(figure_bytes(plot_triggers(found)), alt=_in_words(found)))
        body.append(_trigger_table(found.triggers))
    sections: list[tuple[str, Sequence[object]]] = [("The strongest links", body)]
    if found.attention:
        sections.append(("By raw attention instead, a control", [_trigger_table(found.attention)]))
    how = [
        ("a trigger", "the tokens at the ends of the two largest entries of the head with the "
         "largest entry of all; the second only if it reaches 0.2 of the first; special tokens "
         "dropped (arXiv 2004.11207)"),
        ("ranked by", f"{found.by}, the two entries together"),
        ("least score", str(found.card.config["min_score"])),
        ("texts", f"{found.num_used} of {found.num_texts}"),
    ]  # fmt: skip
    title = f"Triggers of {found.card.model}"
    return write_page(found.card, title, sections, how, path, force=force)


def write_attack(found: Attack, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about an attack: verdict, picture, every class, controls, transfer, fluency.

    Args:
        found: the attack.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    drawn = picture(figure_bytes(plot_attack(found)), alt=f"Bars of accuracies. {found.verdict}")
    sections: list[tuple[str, Sequence[object]]] = [
        ("What the triggers do", [found.verdict, drawn, _trigger_table(found.triggers)]),
        ("Class by class", [_class_rows(found)]),
    ]
    if len(found.controls):
        words = (
            "Accuracy lost in the class that is hurt most, in points: by the trigger, by its "
            "controls (each in its own worst class; mean and range), and the difference with its "
            "95 % interval over texts."
        )
        sections.append(("Beside controls", [words, _summary_rows(found)]))
    if found.fluency is not None:
        clean, attacked = found.fluency.medians()
        rows = [("clean", clean)]
        rows += [(t.name, float(p)) for t, p in zip(found.triggers, attacked, strict=True)]
        name = f"Perplexity by {found.fluency.model}, median over texts"
        sections.append(("Would a reader notice?", [table(("texts", name), rows)]))
    how = [
        ("places", "the same text of a pair, the same share of its tokens in front; what does not "
         "fit the model loses its end (arXiv 2004.11207)"),
        *((kind, _CONTROLS[kind]) for kind in found.kinds),
        ("intervals", "bootstrap over texts, 95 %; p by random signs"),
        ("seed", str(found.card.seed)),
    ]  # fmt: skip
    title = f"Triggers put into texts for {found.card.model}"
    return write_page(found.card, title, sections, how, path, force=force)


def _control_bars(found: Attack, number: int, gold: int) -> tuple[Bar, ...]:
    here = found.gold == gold
    bars: list[Bar] = []
    for kind in found.kinds:
        mine = [i for i, c in enumerate(found.controls) if (c.trigger, c.kind) == (number, kind)]
        if mine:
            right = (found.controlled[mine][:, here] == gold).mean(axis=1)
            low, high = float(right.min()), float(right.max())
            bars.append(Bar(name=kind, value=float(right.mean()), low=low, high=high))
    return tuple(bars)


def _trigger_table(triggers: Sequence[Trigger]) -> Html:
    rows = [
        (
            number,
            each.name,
            each.label,
            each.score,
            ", ".join(f"{reader} - {read}" for reader, read in each.links),
            ", ".join(f"{place:.0%}" for place in each.relative),
            each.count,
        )
        for number, each in enumerate(triggers[:_SHOWN], start=1)
    ]
    header = ("", "tokens", "a mark of", "score", "links (reader - read)", "places", "texts")
    return table(header, rows)


def _class_rows(found: Attack) -> Html:
    found_rows: list[dict[str, Any]] = found.to_table().to_pylist()
    rows = [
        (
            row["pattern"],
            row["class"],
            row["texts"],
            f"{row['clean']:.1%}",
            f"{row['attacked']:.1%} ({row['attacked_low']:.1%} to {row['attacked_high']:.1%})",
            f"{row['difference']:+.1%} ({row['difference_low']:+.1%} to "
            f"{row['difference_high']:+.1%})",
            f"{row['flipped']:.1%}",
            *(_share(row[f"{kind}_controls"]) for kind in found.kinds),
            *(() if found.transfer is None
              else (f"{row['transfer_clean']:.1%} → {row['transfer_attacked']:.1%}",)),
        )
        for row in found_rows
    ]  # fmt: skip
    header = (
        *("trigger", "class", "texts", "clean", "with it", "difference", "right ones flipped"),
        *(f"{kind} controls" for kind in found.kinds),
        *(() if found.transfer is None else (f"on {found.transfer.model}",)),
    )
    return table(header, rows)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _summary_rows(found: Attack) -> Html:
    found_rows: list[dict[str, Any]] = found.to_summary().to_pylist()
    rows = [
        (
            row["pattern"],
            row["control"],
            row["worst_class"],
            f"{100 * row['drop']:.1f}",
            f"{100 * row['control_drop']:.1f} ({100 * row['control_lowest']:.1f} to "
            f"{100 * row['control_highest']:.1f})",
            f"{100 * row['difference']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})",
            f"{row['weaker_controls']} of {row['controls']}",
            "yes" if row["beats"] else "no",
        )
        for row in found_rows
    ]
    header = ("trigger", "control", "class hurt most", "trigger", "controls", "difference",
              "controls that take less", "beats them")  # fmt: skip
    return table(header, rows)


def _in_words(found: Triggers) -> str:
    best = ", ".join(f"{each.name} {each.score:.3g}" for each in found.triggers[:5])
    return f"Bars of the scores of the strongest triggers: {best}."
