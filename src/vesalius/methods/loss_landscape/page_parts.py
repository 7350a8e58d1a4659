"""What the pages about landscapes are put together from.

Source: this project.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from vesalius.core.card import RunCard
from vesalius.core.html import Html, element, page, picture, table
from vesalius.core.paths import write_file
from vesalius.methods.loss_landscape.barrier import BarrierResult
from vesalius.methods.loss_landscape.result import Line
from vesalius.methods.loss_landscape.tables import Rows, value_word
from vesalius.methods.loss_landscape.wording import split_name
from vesalius.plots.style import figure_bytes

Section = tuple[str, Sequence[object]]
MEASURES: Final = (
    ("loss", "mean over examples of the negative log-likelihood of the right answer, in nats; "
     "per token for a language model"),
    ("error", "share of examples whose most likely answer is wrong; of tokens for a language "
     "model"),
    ("±", "standard error of the mean over examples; bands in pictures are 1.96 of it to each "
     "side. All points share the same examples, so differences between points are surer"),
)  # fmt: skip


def points_table(result: Line | BarrierResult) -> Html:
    """Lay out every point [x] with every measure."""
    taken = [(split, m) for split, measures in result.values.items() for m in measures]
    header = ["alpha", *(f"{split_name(split)} {measure}" for split, measure in taken)]
    rows: list[list[object]] = [
        [
            float(alpha),
            *(
                value_word(
                    float(result.values[s][m][place]),
                    m,
                    float(result.standard_errors[s][m][place]),
                )
                for s, m in taken
            ),
        ]
        for place, alpha in enumerate(result.alphas)
    ]
    return rows_table((header, rows))


def drawn(ax: Any, alt: str) -> Html:
    """Embed the figure that holds some matplotlib Axes."""
    return picture(figure_bytes(ax), alt=alt)


def rows_table(rows: Rows) -> Html:
    """Lay rows out as a table, which scrolls where it is wider than the window."""
    return element("div", table(*rows), style="overflow-x:auto")


def folded(name: str, content: Html) -> Html:
    """Hide something long until it is asked for."""
    return element("details", element("summary", name), content)


def side_by_side(pictures: Sequence[Html]) -> Html:
    """Put pictures two in a row where the window is wide enough."""
    each = [element("div", one, style="flex:1 1 26rem; max-width:36rem") for one in pictures]
    return element("div", *each, style="display:flex; flex-wrap:wrap; gap:1rem")


def write_page(
    card: RunCard,
    title: str,
    sections: Sequence[Section],
    how: Sequence[tuple[str, str]],
    path: str | Path,
    *,
    force: bool,
) -> Path:
    """Write a page; its last section says how the numbers were made.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.
    """
    about = [
        (name, str(value))
        for name, value in card.config.items()
        if isinstance(value, str | int | float) and name not in dict(how)
    ]
    made = [
        ("model", f"{card.model or 'not named'} {card.model_fingerprint}".strip()),
        ("versions", ", ".join(f"{name} {number}" for name, number in card.versions.items())),
        ("seconds", f"{card.wall_seconds:.2f}"),
    ]
    notes = [element("p", f"Note: {warning}.") for warning in card.warnings]
    told = table(("what", "how"), [*how, *about, *made])
    full = f"{title}: {card.model}" if card.model else title
    text = page(full, [*sections, ("How these numbers were made", [*notes, told])])
    return write_file(path, text.encode(), force=force)
