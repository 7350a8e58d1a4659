"""The steps of the reproduction in their order, each made once."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from study import Study

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.paths import write_file
from vesalius.methods.knowledge_neurons import LocateTask
from vesalius.parallel.folder import SweepResult
from vesalius.parallel.sweep import sweep


def selected(study: Study) -> dict[str, Any]:
    from selection import select

    return study.once("select", lambda: select(study))


def located(study: Study) -> SweepResult:
    """Locate every chosen fact: the heavy part, in shards that survive being killed."""
    specimen = study.specimen
    task = LocateTask(model=study.model, fingerprint=specimen.fingerprint, keep_scores=False)
    facts = selected(study)["facts"]
    return sweep(task, facts, study.folder / "locate", shard_size=32, name="locate")


def counted(study: Study) -> dict[str, Any]:
    from counted import count

    return study.once("count", lambda: count(study, located(study)))


def turned(study: Study) -> dict[str, Any]:
    """Suppress and amplify, for the located neurons and for those of the activation baseline."""
    from turning import FACTORS, SELECTORS, turn

    return {
        f"{selector} x{factor:g}": study.once(
            f"turn-{selector}-{factor:g}",
            lambda s=selector, f=factor: turn(study, located(study), s, f),
        )
        for selector in SELECTORS
        for factor in FACTORS
    }


def odds(study: Study) -> dict[str, Any]:
    import turning

    return study.once("odds", lambda: turning.odds(study, located(study)))


def whole_layers(study: Study) -> dict[str, Any]:
    import turning

    return study.once("layers", lambda: turning.whole_layers(study, located(study)))


def size_sweep(study: Study) -> dict[str, Any]:
    import turning

    return study.once("sizes", lambda: turning.size_sweep(study, located(study)))


def updated(study: Study) -> dict[str, Any]:
    """Update facts: the paper's edit with and without its neurons' signs, others beside it."""
    from editing import rank_ones, updates

    facts, sizes = selected(study)["facts"], study.sizes

    def made(name: str, **options: Any) -> dict[str, Any]:
        return study.once(name, lambda: updates(study, located(study), facts, **options))

    few = sizes.compared_per_relation
    found = {
        "unshared": made("update", count=sizes.edited_per_relation),
        "unsigned": made("update-unsigned", count=few, by_sign=False),
        "all neurons": made("update-all", count=few, filtered=False),
    }
    if sizes.rank_one_per_relation:
        found["rank-one"] = study.once("rank-one", lambda: rank_ones(study, facts))
    return found


def erased(study: Study) -> list[dict[str, Any]]:
    import editing

    facts = selected(study)["facts"]
    return study.once("erase", lambda: editing.erasures(study, located(study), facts))


def told(study: Study) -> dict[str, Any]:
    from telling import tell
    from turning import SELECTORS

    facts = selected(study)["facts"]
    return {
        selector: study.once(
            f"tell-{selector}", lambda s=selector: tell(study, located(study), facts, s)
        )
        for selector in SELECTORS
    }


STEPS: Mapping[str, Callable[[Study], Any]] = {
    "select": selected,
    "locate": located,
    "count": counted,
    "turn": turned,
    "odds": odds,
    "sizes": size_sweep,
    "layers": whole_layers,
    "update": updated,
    "erase": erased,
    "tell": told,
}


def write_results(study: Study, folder: Path) -> Path:
    """Write what all steps found into one file of numbers."""
    found = {name: STEPS[name](study) for name in STEPS if name not in ("select", "locate")}
    chosen = {name: part for name, part in selected(study).items() if name != "facts"}
    folder.mkdir(parents=True, exist_ok=True)
    card = make_card(
        "reproduction", stopwatch=Stopwatch.start(), config={}, model=study.model,
        model_fingerprint=study.specimen.fingerprint, seed=study.seed,
    )  # fmt: skip
    made_by = {"fingerprint": card.model_fingerprint, "versions": dict(card.versions)}
    everything = {"made_by": made_by, "select": chosen, **found}
    text = json.dumps(everything, ensure_ascii=False, indent=1)
    return write_file(folder / f"{study.folder.name}.json", f"{text}\n".encode(), force=True)
