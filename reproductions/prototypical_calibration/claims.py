"""Each claim of the paper beside the numbers here, judged by a rule that is written."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from counted import PAPER_MIXTURE, Cells, below, condition_spread, gain, shown
from paper import (
    BELOW_CONTEXTUAL,
    BELOW_NONE,
    CELLS,
    GAIN_OVER_CONTEXTUAL,
    GAIN_OVER_NONE,
    SELECTION,
)

YES, NO, OPEN = "yes", "**no**", "open"
Claim = tuple[str, str, str, str]


def claims(
    cells: Mapping[str, Mapping[str, Cells]], results: Mapping[str, Mapping[str, Any]]
) -> list[Claim]:
    """Judge every claim: a gain holds if its interval over sets is above 0."""
    told: list[Claim] = []
    for wording, words in (("given", "the paper's prompts"), ("suited", "suited prompts")):
        by_model = cells[wording]
        everything = [{**cell, "model": name} for name, found in by_model.items() for cell in found]
        told += _gains(f"{words}, all models", everything)
        if wording == "given":
            for name, found in by_model.items():
                told += _gains(f"{words}, {name}", found)[:2]
        told += _below(words, _flat(by_model))
    told += _selection(results)
    told += _robust(next(iter(results.values())))
    return told


def _gains(name: str, cells: Cells) -> list[Claim]:
    asked = (
        ("prototypical", "none", f"+{GAIN_OVER_NONE} (recomputed from its table)"),
        ("prototypical", "contextual", f"+{GAIN_OVER_CONTEXTUAL} (recomputed)"),
        ("prototypical", "batch", "not compared"),
        (PAPER_MIXTURE, "none", f"+{GAIN_OVER_NONE}"),
        ("batch", "none", "not compared"),
        ("contextual", "none", "+6.2 (recomputed)"),
    )
    told: list[Claim] = []
    for method, reference, theirs in asked:
        found = gain(cells, method, reference)
        verdict = YES if found[0].low > 0 else NO if found[0].high < 0 else OPEN
        what = f"{name}: {method} over {reference}, points"
        told.append((what, theirs, shown(found), verdict))
    for method, reference in (("prototypical", "none"), ("batch", "none")):
        found = gain(cells, method, reference, "macro_f1")
        verdict = YES if found[0].low > 0 else NO if found[0].high < 0 else OPEN
        what = f"{name}: {method} over {reference}, points of macro-F1"
        told.append((what, "not given", shown(found), verdict))
    return told


def _flat(cells: Mapping[str, Cells]) -> Cells:
    """The cells of all models, each a column of its own."""
    return [
        {**cell, "set": f"{name} {cell['set']}"} for name, found in cells.items() for cell in found
    ]


def _below(words: str, cells: Cells) -> list[Claim]:
    told: list[Claim] = []
    for reference, number in (("none", BELOW_NONE), ("contextual", BELOW_CONTEXTUAL)):
        lost, total = below(cells, "prototypical", reference)
        verdict = YES if lost / total <= 0.25 else NO
        what = f"{words}: cells in which prototypical is below {reference} (at most a quarter)"
        told.append((what, f"{number} of {CELLS}", f"{lost} of {total}", verdict))
    return told


def _selection(results: Mapping[str, Mapping[str, Any]]) -> list[Claim]:
    told: list[Claim] = []
    for which, kind in (("", "default"), ("paper ", "paper's mixture")):
        lost: list[float] = []
        for result in results.values():
            for steps in result["sets"].values():
                step = steps["given"]
                if "likelihood" in step["mixtures"]:
                    mine = step["rows"] if not which else step["mixtures"]["paper"]
                    lost += _paired(mine, step["mixtures"][f"{which}likelihood"])
        mean = 100 * float(np.mean(lost))
        what = f"choosing the restart by assignment beats likelihood ({kind}), points"
        verdict = YES if mean > 0.5 else NO if mean < -0.5 else OPEN
        theirs = [b - a for models in SELECTION.values() for pairs in models.values()
                  for a, b in pairs]  # fmt: skip
        paper = f"{np.mean(theirs):+.1f} over {len(theirs)} cells"
        told.append((what, paper, f"{mean:+.1f} over {len(lost)} cells", verdict))
    return told


def _paired(mine: Any, theirs: Any) -> list[float]:
    first = _keyed(mine)
    second = _keyed(theirs)
    return [first[key] - second[key] for key in sorted(first.keys() & second.keys())]


def _keyed(rows: Any) -> dict[tuple[Any, ...], float]:
    return {
        (row["place"], row["seed"]): row["accuracy"]
        for row in rows
        if row["method"] == "prototypical" and row["accuracy"] is not None
    }


def _robust(result: Mapping[str, Any]) -> list[Claim]:
    """Spread over templates, orders and proportions on SST-2."""
    rows = result["sets"]["sst2"]["robust"]["rows"]
    told: list[Claim] = []
    for axis, theirs in (("template", "higher mean, low spread"), ("order", "near-constant"),
                         ("proportion", "near-constant")):  # fmt: skip
        plain = condition_spread(rows, axis, "none")
        mine = condition_spread(rows, axis, "prototypical")
        better = mine.mean() > plain.mean() and mine.std() < plain.std()
        what = f"SST-2, {axis}: prototypical is higher and spreads less than none"
        here = (f"{plain.mean():.1f} (sd {plain.std(ddof=1):.1f}) → {mine.mean():.1f} "
                f"(sd {mine.std(ddof=1):.1f})")  # fmt: skip
        told.append((what, theirs, here, YES if better else NO))
    return told
