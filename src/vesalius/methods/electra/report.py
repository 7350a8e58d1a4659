"""A self-contained page about `verify-variance`: what one sees, in words, with its numbers.

Source: this project.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from vesalius.core.html import Html, element, page, picture, table
from vesalius.core.paths import write_file
from vesalius.methods.electra.plot import plot_example, plot_variance
from vesalius.methods.electra.result import (
    GENERATOR,
    OPTIMA,
    QUANTITIES,
    VarianceRatio,
    VarianceResult,
)
from vesalius.numerics.statistics import Interval
from vesalius.plots.style import figure_bytes

Rows = tuple[Sequence[str], Sequence[Sequence[object]]]
_HOW: Final = (
    ("slot", "a masked place; every token is put there in turn, the other slots of its document "
     "hold one draw"),
    ("loss", "the discriminator's at the slot, in nats, times the weight q / p"),
    ("logit gradient", "derivative of that loss by the discriminator's logit there"),
    ("parameter gradient", "gradient of that loss by all weights of the discriminator, shared "
     "embeddings included; its variance is the trace of the covariance"),
    ("ratio", "variance under a sampler over that under the generator's own draws: below 1 the "
     "sampler steadies; slots where the generator has no variance are left out"),
    ("median, mean", "of the slots' ratios; intervals are a percentile bootstrap over slots"),
    ("total", "sum of the variances over sum of the variances: slots count by their variance"),
    ("best possible", "the sampler in proportion to q times the size of what is measured; for the "
     "loss its variance is 0"),
    ("elsewhere", "loss at the document's other tokens, summed: no weight corrects it, so a "
     "sampler may move it"),
    ("effective share", "1 / E[w²]; small under the best sampler too, so no sign of trouble"),
)  # fmt: skip


def write_variance(result: VarianceResult, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about a result: ratios, whether the means are kept, one slot in full.

    Args:
        result: from `verify_variance`.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.
    """
    alt = "Share of the slots at or below each variance ratio; the numbers are in the table below."
    shown = picture(figure_bytes(plot_variance(result)), alt=alt)
    alarms = [element("p", element("strong", f"Alarm: {alarm}.")) for alarm in result.alarms()]
    one = picture(
        figure_bytes(plot_example(result)),
        alt="Probability and weighted loss of the candidates at one slot.",
    )
    sections: list[tuple[str, Sequence[object]]] = [
        (
            "What came out",
            [*variance_sentences(result), *alarms, shown, _wide(ratio_rows(result))],
        ),
        ("Is the mean kept?", [mean_sentence(result), _wide(mean_rows(result))]),
        ("One slot in full", [_example_words(result), one]),
    ]
    card = result.card
    about = [
        (name, ", ".join(f"{key}={value[key]}" for key in value))
        if isinstance(value, dict)
        else (name, str(value))
        for name, value in card.config.items()
        if value is not None
    ]
    made = [
        ("model", card.model or "not named"),
        ("versions", ", ".join(f"{name} {number}" for name, number in card.versions.items())),
        ("seed", str(card.seed)),
        ("seconds", f"{card.wall_seconds:.2f}"),
    ]
    notes = [element("p", f"Note: {warning}.") for warning in card.warnings]
    told = _wide((("what", "how"), [*_HOW, *about, *made]))
    sections.append(("How these numbers were made", [*notes, told]))
    title = "Variance under the samplers"
    text = page(f"{title}: {card.model}" if card.model else title, sections)
    return write_file(path, text.encode(), force=force)


def variance_sentences(result: VarianceResult) -> list[str]:
    """Say in words what came out: per learned sampler and quantity, and what could be gained."""
    num_slots = len(result.slots)
    how = "every token of the vocabulary" if result.is_exact else "the likeliest tokens"
    rest = "" if result.is_exact else ", and draws from the others,"
    told = [f"At each of {num_slots} held-out slots {how}{rest} was put in place."]
    for name in result.learned:
        parts = [
            f"{quantity} {found.median.estimate:.2f} and {found.total.estimate:.2f}"
            for quantity in QUANTITIES
            if (found := _find(result, name, quantity)) is not None
        ]
        told.append(
            f"{name}, variance over the generator's at the median slot and in total: "
            f"{', '.join(parts)}."
        )
    best = [
        f"{found.total.estimate:.2f} for the {quantity}"
        for quantity in QUANTITIES[1:]
        if (found := _find(result, OPTIMA[quantity], quantity)) is not None
    ]
    if best:
        told.append(
            f"The best possible would leave, in total, {', '.join(best)}, and nothing for the loss."
        )
    return told


def mean_sentence(result: VarianceResult) -> str:
    """Say whether the weighted means are those of the generator."""
    if not result.learned:
        return "There is no learned sampler: only the generator draws, and nothing is weighted."
    return (
        "The weights keep the mean of the loss at a slot: the largest difference at any slot is "
        f"{result.largest_bias:.1e} of it, rounding of the weights in single precision. Weights "
        f"are cut at {result.max_weight:g} in training, which takes a little away."
    )


def ratio_rows(result: VarianceResult) -> Rows:
    """Lay out the ratios with their intervals."""
    header = (
        "quantity",
        "sampler",
        "slots",
        "median",
        "mean",
        "total",
        "10 % to 90 % of the slots",
    )
    rows = [
        [
            each.quantity,
            each.sampler,
            each.num_slots,
            _interval(each.median),
            _interval(each.mean),
            _interval(each.total),
            f"{each.quantiles[0]:.2f} to {each.quantiles[-1]:.2f}",
        ]
        for each in result.ratios
    ]
    return header, rows


def mean_rows(result: VarianceResult) -> Rows:
    """Lay out what each sampler draws, and the means under it, averaged over slots.

    A sampler that was taken at some of the slots only is left out: other slots, other means.
    """
    header = (
        "sampler", "mean loss (nats)", "with weights cut", "elsewhere (nats)",
        "original drawn", "effective share",
    )  # fmt: skip
    columns = (
        result.means_nats,
        result.cut_means_nats,
        result.elsewhere_nats,
        result.probs_original,
        result.effective_shares,
    )
    rows: list[list[object]] = []
    for place, name in enumerate(result.samplers):
        means = [float(column[place].mean()) for column in columns]
        if not np.isfinite(means).all():
            continue
        cells = [f"{mean:.4f}" for mean in means[:3]] + [f"{mean:.1%}" for mean in means[3:]]
        rows.append([name, *cells])
    return header, rows


def _example_words(result: VarianceResult) -> str:
    example = result.example
    seen = "hidden from" if result.masked[example.slot] else "shown to"
    return (
        "The slot of the median variance under the generator. The original, "
        f"{seen} the generator, stands first, then the tokens that matter most. On the right, a "
        f"sampler without variance would have all its dots on the line; {GENERATOR} draws have "
        f"weight 1, so its dots are the losses. Of {result.vocab_size} tokens "
        f"{len(example.tokens)} are shown."
    )


def _find(result: VarianceResult, sampler: str, quantity: str) -> VarianceRatio | None:
    """The ratio, or None where it was not taken."""
    for each in result.ratios:
        if (each.sampler, each.quantity) == (sampler, quantity):
            return each
    return None


def _interval(found: Interval) -> str:
    return f"{found.estimate:.2f} ({found.low:.2f}\u00a0to\u00a0{found.high:.2f})"


def _wide(rows: Rows) -> Html:
    return element("div", table(*rows), style="overflow-x:auto")
