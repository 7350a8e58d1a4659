"""The pictures of the page, drawn from the stored numbers alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vesalius.core.paths import write_file
from vesalius.plots.effect_curve import Band, effect_curve
from vesalius.plots.heat import heat_map
from vesalius.plots.histogram import layer_histogram
from vesalius.plots.means import Mean, mean_dots
from vesalius.plots.style import figure_bytes

Result = Mapping[str, Any]
BOTH = {"attribution": "knowledge neurons", "activation": "neurons by activation"}


def draw(result: Result, model: str, folder: Path) -> list[Path]:
    """Draw one model's pictures, and give their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    makers: Mapping[str, Callable[[Result, str], Any]] = {
        "layers": layers,
        "turned": turned,
        "sizes": sizes,
        "shared": shared,
    }
    return [
        write_file(
            folder / f"{model}-{name}.png",
            figure_bytes(make(result, model), dots_per_inch=110),
            force=True,
        )
        for name, make in makers.items()
    ]


def layers(result: Result, model: str) -> Any:
    """In which layers the neurons lie."""
    counts = {name: np.array(result["count"][key]["layers"]) for key, name in BOTH.items()}
    num_facts = sum(result["count"]["num_facts"])
    return layer_histogram(
        {name: each / max(each.sum(), 1) for name, each in counts.items()},
        title=f"{model}: {num_facts:,} facts",
    )


def shared(result: Result, model: str) -> Any:
    """How many neurons the facts of two relations share."""
    values = np.array(result["count"]["attribution"]["shared"], dtype=float)
    return heat_map(
        values,
        rows=result["count"]["relations"],
        unit="neurons that two facts share",
        scale="log",
        title=f"{model}: knowledge neurons shared",
    )


def sizes(result: Result, model: str) -> Any:
    """Effect against size, suppressed beside amplified."""
    told = result["sizes"]
    figure = Figure(figsize=(10.4, 3.6), layout="constrained")
    names = {"random": "random neurons", "active": "neurons as active"}
    axes = figure.subplots(1, 2)
    for number, ax in enumerate(axes):
        own = np.array(told["kinds"]["located"][number])
        bands = {key: np.array(told["kinds"][key][number]) for key in names}
        effect_curve(
            np.array(told["sizes"]),
            own[:, 0],
            low=own[:, 1],
            high=own[:, 2],
            controls=[
                Band(name=names[key], mean=each[:, 0], low=each[:, 1], high=each[:, 2])
                for key, each in bands.items()
            ],
            title=f"{model}, {told['num_facts']} facts: neurons × {told['factors'][number]:g}",
            ax=ax,
        )
    return axes[0]


def turned(result: Result, model: str) -> Any:
    """The change of the gold probability, a light dot per relation."""
    figure = Figure(figsize=(11.4, 3.9), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, (factor, title) in zip(axes, (("0", "suppressed"), ("2", "doubled")), strict=True):
        means: list[Mean] = []
        for selector, kind, name in (
            ("attribution", 0, "knowledge neurons"),
            ("activation", 0, "by activation"),
            ("attribution", 1, "of another relation"),
            ("attribution", 2, "random"),
        ):
            found = result["turn"][f"{selector} x{factor}"]
            estimate, low, high = (100 * value for value in found["overall"][kind])
            points = 100 * np.array(found["change"][kind])
            means.append(Mean(name=name, estimate=estimate, low=low, high=high, points=points))
        unit = "change of the gold probability (%)"
        mean_dots(means, unit=unit, point_name="a relation", title=f"{model}: {title}", ax=ax)
    return axes[0]
