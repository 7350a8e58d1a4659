"""What the commands of `landscape` print: tables and sentences for people, JSON for programs.

Source: the wording of methods/loss_landscape, which pages share.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from vesalius.cli.errors import say
from vesalius.cli.output import emit, emit_json, emit_table

if TYPE_CHECKING:
    from vesalius.methods.loss_landscape import (
        BarrierResult,
        Flatness,
        Line,
        Rollback,
        Surface,
        Trajectory,
    )
    from vesalius.methods.loss_landscape.agreement import SurfaceAgreement
    from vesalius.methods.loss_landscape.tables import Rows

_AGREE: Final = "training loss against held-out measures"


def show_line(found: "Line") -> None:
    """Print what a line shows, as its page does."""
    from vesalius.methods.loss_landscape.tables import (
        agreement_rows,
        line_rows,
        missing_sentences,
        way_sentence,
    )

    _table(line_rows(found))
    _table(agreement_rows(found), title=_AGREE)
    _sentences(way_sentence(found), *missing_sentences(found.values))


def show_surface(found: "Surface", path: "Trajectory | None") -> None:
    """Print what a surface shows, and the checkpoints over it."""
    from vesalius.methods.loss_landscape.tables import (
        agreement_rows,
        missing_sentences,
        off_plane_sentence,
        plane_rows,
        surface_rows,
        trajectory_rows,
    )

    _table(surface_rows(found))
    _table(agreement_rows(found), title=_AGREE)
    _table(plane_rows(found), title="the plane")
    if path is not None:
        _table(trajectory_rows(path, found), title="the checkpoints")
    off = "" if path is None else off_plane_sentence(path)
    _sentences(off, *missing_sentences(found.values))


def show_trajectory(found: "Trajectory") -> None:
    """Print where each checkpoint stands, and how far off the axes."""
    from vesalius.methods.loss_landscape.tables import (
        missing_sentences,
        off_plane_sentence,
        trajectory_rows,
    )

    _table(trajectory_rows(found))
    _sentences(off_plane_sentence(found), *missing_sentences(found.values))


def show_rollback(found: "Rollback") -> None:
    """Print what each group of layers costs."""
    from vesalius.methods.loss_landscape.study_tables import rollback_rows, rollback_sentences

    _table(rollback_rows(found))
    majority = found.majority_accuracy
    always = "" if majority is None else f"Always the commonest class is right on {majority:.1%}."
    _sentences(*rollback_sentences(found), always)


def show_barrier(found: "BarrierResult") -> None:
    """Print the barriers, and whether they are more than noise."""
    from vesalius.methods.loss_landscape.study_tables import barrier_rows, barrier_sentences

    _table(barrier_rows(found))
    _sentences(*barrier_sentences(found))


def show_flatness(found: "Flatness") -> None:
    """Print both geometries beside each other, then the widths."""
    from vesalius.methods.loss_landscape.study_tables import flatness_rows, width_rows

    _table(flatness_rows(found))
    if found.widths:
        title = f"where the loss rises by at most {found.tau_nats:g} nats"
        _table(width_rows(found), title=title)


def show_agreement(found: "SurfaceAgreement") -> None:
    """Print the numbers of agreement, and the low regions."""
    emit_table(
        ("training loss and", "rank correlation", "low", "high", "distance of minima", "overlap"),
        [
            (
                f"held-out {pair.measure}",
                pair.rank_correlation if isfinite(pair.rank_correlation) else None,
                None if pair.rank_interval is None else pair.rank_interval.low,
                None if pair.rank_interval is None else pair.rank_interval.high,
                pair.argmin_distance,
                f"{pair.overlap:.0%}",
            )
            for pair in found.pairs
        ],
    )
    emit("")
    emit_table(
        ("split", "low region", "reaches the rim", "lowest loss", "at", "loss of the model"),
        [
            (
                region.split.replace("_", "-"),
                region.extent,
                "yes" if region.is_open else "no",
                region.lowest_nats,
                ", ".join(f"{place:g}" for place in region.lowest_at),
                region.solution_nats,
            )
            for region in found.regions
        ],
        title=f"within {found.tau_nats:g} nats of the model's loss, around it",
    )


def line_as_json(found: "Line") -> dict[str, Any]:
    """Give a line with its agreement, as JSON says it."""
    return {
        **_about(found),
        "axis": found.axis,
        "norm": found.norm,
        "solution": found.solution,
        "num_examples": found.num_examples,
        "rows": found.to_table().to_pylist(),
        **_agreement(found),
    }


def surface_as_json(found: "Surface") -> dict[str, Any]:
    """Give a surface with its lowest points and agreement."""
    import numpy as np

    minima = {
        split: {
            measure: dict(zip(("alpha", "beta", "value"), found.minimum(split, measure),
                              strict=True))
            for measure, values in measures.items()
            if np.isfinite(values).any()
        }
        for split, measures in found.values.items()
    }  # fmt: skip
    return {
        **_about(found),
        "axes": list(found.axes),
        "norms": list(found.norms),
        "cosine": found.cosine,
        "solution": list(found.solution),
        "num_examples": found.num_examples,
        "minima": minima,
        "interpolation": None if found.interpolation is None else asdict(found.interpolation),
        "rows": found.to_table().to_pylist(),
        **_agreement(found),
    }


def trajectory_as_json(found: "Trajectory") -> dict[str, Any]:
    """Give the checkpoints of a training."""
    return {
        **_about(found),
        "axes": list(found.axes),
        "projection": found.projection,
        "heads": found.heads,
        "num_examples": found.num_examples,
        "rows": found.to_table().to_pylist(),
    }


def rollback_as_json(found: "Rollback") -> dict[str, Any]:
    """Give a roll-back: what all groups are compared with, then each of them."""
    names = ("direction", "split", "num_examples", "num_layers", "fine_tuned_accuracy",
             "fine_tuned_loss_nats", "start_accuracy", "start_loss_nats",
             "majority_accuracy")  # fmt: skip
    told = {name: getattr(found, name) for name in names}
    return {**_about(found), **told, "rows": found.to_table().to_pylist()}


def barrier_as_json(found: "BarrierResult") -> dict[str, Any]:
    """Give the barriers, and every point on the way."""
    return {
        **_about(found),
        "moved": found.moved,
        "distance": found.distance,
        "num_examples": found.num_examples,
        "barriers": [asdict(height) for height in found.heights],
        "rows": found.to_table().to_pylist(),
    }


def flatness_as_json(found: "Flatness") -> dict[str, Any]:
    """Give every measure of flatness, and the widths."""
    names = ("moved", "split", "num_examples", "num_weights", "weights_norm", "loss_nats",
             "tau_nats", "sigma")  # fmt: skip
    return {
        **_about(found),
        **{name: getattr(found, name) for name in names},
        "rows": found.to_table().to_pylist(),
        "widths": [asdict(width) for width in found.widths],
    }


def agreement_as_json(found: "SurfaceAgreement") -> dict[str, Any]:
    """Give the numbers of agreement, and the low regions."""
    return {
        "tau_nats": found.tau_nats,
        "margin": found.margin,
        "rows": found.to_table().to_pylist(),
        "regions": [asdict(region) for region in found.regions],
    }


def tell(
    found: Any,
    flags: Any,
    name: str,
    as_json: Callable[[Any], Mapping[str, Any]],
    show: Callable[[Any], None],
) -> None:
    """Print a result the way it is asked for: its JSON with what was saved, or its tables."""
    if flags.json:
        emit_json({name: as_json(found), "saved": saved_files(flags)})
    else:
        show(found)


def saved_files(flags: Any) -> dict[str, str]:
    """Say what was written where, of --out, --html and --plot."""
    named = {name: getattr(flags, name) for name in ("out", "html", "plot")}
    return {name: str(path) for name, path in named.items() if path is not None}


def show_warnings(found: Any) -> None:
    """Tell people, on stderr, what the card of a result warns of."""
    for warning in found.card.warnings:
        say(f"vesalius: {warning}")


def _about(found: Any) -> dict[str, Any]:
    return {
        "model": found.card.model,
        "model_fingerprint": found.card.model_fingerprint,
        "warnings": list(found.card.warnings),
    }


def _agreement(found: "Line | Surface") -> Mapping[str, Any]:
    """The agreement of train and held-out data, where there is any to be found."""
    from vesalius.core.errors import VesaliusError
    from vesalius.methods.loss_landscape.agreement import agreement

    try:
        return {"agreement": agreement_as_json(agreement(found, num_resamples=0))}
    except VesaliusError:  # no held-out data, or nothing finite
        return {"agreement": None}


def _table(rows: "Rows", *, title: str = "") -> None:
    """Print rows whose cells are words or numbers; none for no rows."""
    columns, cells = rows
    if not cells:
        return
    if title:
        emit("")
    emit_table(columns, [[_plain(cell) for cell in row] for row in cells], title=title)


def _plain(cell: object) -> object:
    return cell.replace("\xa0", " ") if isinstance(cell, str) else cell


def _sentences(*told: str) -> None:
    if any(told):
        emit("\n" + "\n".join(_plain_texts(told)))


def _plain_texts(told: Iterable[str]) -> Sequence[str]:
    return [text.replace("\xa0", " ") for text in told if text]
