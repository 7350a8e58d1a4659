"""Numbers of the page from the stored cells: means, gains with intervals, counts of cells."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vesalius.numerics.statistics import Interval, bootstrap_interval, sign_flip_p_value

Cells = list[Mapping[str, Any]]
PAPER_MIXTURE = "prototypical (paper)"


def cells_of(result: Mapping[str, Any], wording: str) -> Cells:
    """Every cell of a main table, ``given`` or ``suited``: set, shots, seed, method, scores."""
    found: Cells = []
    for name, steps in result["sets"].items():
        rows = steps[wording]["rows"]
        paper = [{**row, "method": PAPER_MIXTURE} for row in steps[wording]["mixtures"]["paper"]]
        found += [{**row, "set": name, "shots": int(row["place"])} for row in [*rows, *paper]]
    return found


def values(cells: Cells, metric: str = "accuracy", **where: Any) -> np.ndarray:
    """The values of cells that match, those without a number left out."""
    found = [c[metric] for c in cells if all(c[key] == value for key, value in where.items())]
    return np.array([v for v in found if v is not None and np.isfinite(v)], dtype=np.float64)


def mean_sd(cells: Cells, **where: Any) -> str:
    """Mean and standard deviation over seeds, in per cent."""
    found = 100 * values(cells, **where)
    if not len(found):
        return "-"
    spread = f" ({found.std(ddof=1):.1f})" if len(found) > 1 else ""
    return f"{found.mean():.1f}{spread}"


def differences(
    cells: Cells, method: str, reference: str, metric: str = "accuracy"
) -> dict[str, np.ndarray]:
    """Paired differences by set, over shots and seeds, in points."""
    mine, theirs = _keyed(cells, method, metric), _keyed(cells, reference, metric)
    found: dict[str, list[float]] = {}
    for key in sorted(mine.keys() & theirs.keys()):  # one order: sums that round alike
        found.setdefault(key[0], []).append(100 * (mine[key] - theirs[key]))
    return {name: np.array(each) for name, each in sorted(found.items())}


def gain(
    cells: Cells, method: str, reference: str, metric: str = "accuracy"
) -> tuple[Interval, float]:
    """The mean difference over sets, with a bootstrap over sets and a sign-flip test."""
    means = np.array(
        [each.mean() for each in differences(cells, method, reference, metric).values()]
    )
    interval = bootstrap_interval(means, generator=np.random.default_rng(0))
    return interval, sign_flip_p_value(means, generator=np.random.default_rng(0))


def below(cells: Cells, method: str, reference: str) -> tuple[int, int]:
    """Cells of the table (a set at a number of shots, mean over seeds) in which one is below."""
    lost = total = 0
    for name, shots in sorted({(c["set"], c["shots"]) for c in cells}):
        mine = values(cells, method=method, set=name, shots=shots)
        theirs = values(cells, method=reference, set=name, shots=shots)
        if len(mine) and len(theirs):
            total += 1
            lost += bool(mine.mean() < theirs.mean() - 1e-9)
    return lost, total


def shown(found: tuple[Interval, float]) -> str:
    """A gain in points with its interval and p-value."""
    interval, p_value = found
    return (
        f"{interval.estimate:+.1f} ({interval.low:+.1f} to {interval.high:+.1f}), p = {p_value:.3f}"
    )


def condition_spread(rows: Iterable[Mapping[str, Any]], axis: str, method: str) -> np.ndarray:
    """Accuracies % of a method in every cell of an axis."""
    found = [r["accuracy"] for r in rows if (r["axis"], r["method"]) == (axis, method)]
    return 100 * np.array([v for v in found if v is not None], dtype=np.float64)


def _keyed(cells: Cells, method: str, metric: str) -> dict[tuple[Any, ...], float]:
    return {
        (c["set"], c["shots"], c["seed"], c.get("model", "")): c[metric]
        for c in cells
        if c["method"] == method and c[metric] is not None
    }
