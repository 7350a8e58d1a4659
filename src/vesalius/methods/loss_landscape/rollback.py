"""`landscape rollback`: what each group of layers learnt, by taking it away again.

One group of a fine-tuned model gets its old weights back, all others stay. Where that costs
nothing, training changed nothing there that the task needs.

Source: arXiv 1908.05620, section 4.2 and its table 2 (thirds of the layers); single layers, the
way forward, changes of weights and paired intervals: this project.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from vesalius.core.card import RunCard, Stopwatch, make_card
from vesalius.core.checks import check_word, words_of
from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, register_result
from vesalius.core.seeds import derive_seed
from vesalius.methods.loss_landscape.examples import HELD_OUT, Examples
from vesalius.methods.loss_landscape.frame import Source
from vesalius.methods.loss_landscape.measures import ERROR, LOSS
from vesalius.models.displaced import Weights, displaced
from vesalius.models.specimen import Specimen
from vesalius.models.weight_groups import WeightGroups, weight_groups
from vesalius.models.weights import fit_weights, read_weights
from vesalius.numerics.statistics import PairedDifference, paired_differences
from vesalius.numerics.weight_directions import difference, norm
from vesalius.parallel.memory import DEFAULT_BYTES, parse_bytes

Groups = Literal["thirds", "layers", "both"]
Direction = Literal["back", "forward"]
ENCODER: Final = "encoder"
_UNTOUCHED: Final = ""


@final
@dataclass(frozen=True, kw_only=True)
class RollbackRow:
    """One group of weights with the values of the other side.

    ``weight_change`` is how far training moved the group, |end - start| / |start|. The changes
    compare with the model that none of its groups was touched of, over the same examples.
    """

    group: str  # low, middle, high, embeddings, layer 3, encoder
    layers: tuple[int, ...]
    num_weights: int
    weight_change: float  # NaN where all of the start is zero
    accuracy: float
    accuracy_change: PairedDifference
    loss_nats: float
    loss_change: PairedDifference


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Rollback(AbstractResult):
    """What happens when groups of a fine-tuned model's layers get their old weights back.

    With the direction ``back`` everything is fine-tuned but the group, and changes are those from
    the fine-tuned model; with ``forward`` everything but the head is the start's save for the
    group, and changes are those from the start. ``majority_accuracy`` is that of always giving the
    commonest class, None where examples have no classes.
    """

    kind: ClassVar[str] = "loss_landscape.rollback"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("loss_landscape",)

    direction: Direction
    split: str
    num_examples: int
    num_layers: int
    rows: tuple[RollbackRow, ...]
    fine_tuned_accuracy: float
    fine_tuned_loss_nats: float
    start_accuracy: float  # of the start with the fine-tuned head
    start_loss_nats: float
    majority_accuracy: float | None

    def row(self, group: str) -> RollbackRow:
        """Give the row of a group.

        Raises:
            VesaliusError: a group that was not tried.
        """
        for row in self.rows:
            if row.group == group:
                return row
        raise VesaliusError(
            given=f"group {group!r}",
            expected=f"one of {', '.join(row.group for row in self.rows)}",
            fix="roll back again with groups='both'",
        )

    def to_table(self) -> pa.Table:
        """One row for each group: accuracy, loss, their changes with bounds, the weights' change.

        Source: arXiv 1908.05620, table 2.
        """
        return pa.Table.from_pylist([_cells(row) for row in self.rows])

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw the accuracy with each group changed as bars; returns matplotlib Axes.

        Source: this project.
        """
        from vesalius.methods.loss_landscape.plot import plot_rollback

        return plot_rollback(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.loss_landscape.report import write_rollback

        return write_rollback(self, path, force=force)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Outcome:
    """What was measured of each example, [example]."""

    right: Float[np.ndarray, " example"]
    losses: Float[np.ndarray, " example"]

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    @property
    def loss_nats(self) -> float:
        return float(self.losses.mean())


def rollback(
    specimen: Specimen,
    examples: Examples,
    start: Source,
    *,
    groups: Groups = "both",
    direction: Direction = "back",
    split: str = HELD_OUT,
    num_resamples: int = 2000,
    memory: str | int = DEFAULT_BYTES,
    seed: int = 0,
) -> Rollback:
    """Give groups of a fine-tuned model's weights their old values back, and measure it.

    Embeddings and the whole encoder are always among the groups; the head stays.

    Args:
        specimen: the fine-tuned model; it is itself again afterwards, bit for bit.
        examples: what it is measured on.
        start: the weights its training began with.
        groups: ``thirds`` of the layers, single ``layers``, or ``both``.
        direction: ``back`` puts the start's weights into a group of the fine-tuned model;
            ``forward`` the other way round.
        split: ``held_out`` or ``train``.
        num_resamples: of the bootstrap over examples.
        memory: what may be kept of the layers below the changed ones.
        seed: of the resampling.

    Raises:
        VesaliusError: an unknown word or split, examples without an error, a start of no fit.

    Source: arXiv 1908.05620, section 4.2.
    """
    stopwatch = Stopwatch.start()
    check_word("groups", groups, words_of(Groups))
    check_word("direction", direction, words_of(Direction))
    check_word("split", split, tuple(examples.splits))
    known = weight_groups(specimen)
    names = known.named(ENCODER)
    old: Weights = fit_weights(read_weights(start), specimen.model, names, what="the start")
    own: Weights = {name: specimen.model.get_parameter(name).detach() for name in names}
    _check_moved(specimen, own, old)
    with _standing(specimen, own, old, direction) as put:
        words, kept = _chosen(known, groups), parse_bytes(memory)
        found = _measured(specimen, examples, put, known, words, split, kept)
    untouched = found.pop(_UNTOUCHED)
    ends = (untouched, found[ENCODER]) if direction == "back" else (found[ENCODER], untouched)
    generator = np.random.default_rng(derive_seed(seed, "rollback", split))
    changes = _compared(found, untouched, generator, num_resamples)
    options = {"groups": groups, "split": split, "num_resamples": num_resamples}
    return Rollback(
        card=_card(specimen, examples, stopwatch, options | {"direction": direction}, seed),
        direction=direction,
        split=split,
        num_examples=len(untouched.right),
        num_layers=len(known.layers),
        rows=tuple(_row(group, known, own, old, found[group], changes[group]) for group in found),
        **_ends(*ends),
        majority_accuracy=_majority(examples, split),
    )


def _check_moved(specimen: Specimen, own: Weights, old: Weights) -> None:
    if all(bool((own[name].to(weights) == weights).all()) for name, weights in old.items()):
        raise VesaliusError(
            given=f"a start with the same weights as {specimen.name}",
            expected="the weights that training began with, and those that it led to",
            fix="name the pretrained model (--start)",
        )


def _card(
    specimen: Specimen,
    examples: Examples,
    stopwatch: Stopwatch,
    options: Mapping[str, Any],
    seed: int,
) -> RunCard:
    data = {"data": examples.name, "data_fingerprint": examples.fingerprint}
    return make_card(
        "landscape rollback",
        stopwatch=stopwatch,
        config={**options, **data},
        model=specimen.name,
        model_fingerprint=specimen.fingerprint,
        seed=seed,
    )


@contextmanager
def _standing(
    specimen: Specimen, own: Weights, old: Weights, direction: Direction
) -> Generator[Weights, None, None]:
    """Let the model stand where no group is touched, and hand over what is put into groups."""
    if direction == "back":
        yield old
        return
    with displaced(specimen.model, old) as move:
        move(())
        yield own


def _chosen(known: WeightGroups, groups: Groups) -> tuple[str, ...]:
    """The words of the groups, in the order of the table."""
    thirds = tuple(known.thirds) if groups != "layers" else ()
    layers = tuple(f"layer {k}" for k in range(len(known.layers))) if groups != "thirds" else ()
    embeddings = ("embeddings",) if known.embeddings else ()
    return (*thirds, *embeddings, *layers, ENCODER)


def _measured(
    specimen: Specimen,
    examples: Examples,
    put: Weights,
    known: WeightGroups,
    chosen: Sequence[str],
    split: str,
    memory_bytes: int,
) -> dict[str, _Outcome]:
    """Measure the model with each group changed, in the order given, and without any change.

    Groups that begin in the same third of the layers share one cache of what enters it.
    """
    lowest = {group: known.first_layer(known.named(group)) for group in chosen}
    lowest[_UNTOUCHED] = max(0, len(known.layers) - 1)  # any cache will do: the highest is best
    floors = sorted({known.first_layer(names) for names in known.thirds.values()} | {0})
    found: dict[str, _Outcome] = {}
    with tqdm(total=len(lowest), desc="rollback", disable=None) as bar:
        for floor, ceiling in zip(floors, [*floors[1:], len(known.layers) + 1], strict=True):
            with examples.measuring(
                specimen, first_layer=floor, memory_bytes=memory_bytes
            ) as measured:
                for group in (g for g, layer in lowest.items() if floor <= layer < ceiling):
                    names = known.named(group) if group != _UNTOUCHED else ()
                    with displaced(specimen.model, {name: put[name] for name in names}) as move:
                        move(())
                        found[group] = _outcome(measured((split,))[split])
                    bar.update()
    return {group: found[group] for group in lowest}


def _outcome(values: dict[str, Any]) -> _Outcome:
    if ERROR not in values or LOSS not in values:
        raise VesaliusError(
            given=f"examples that measure {', '.join(values)}",
            expected=f"{LOSS} and {ERROR} of each example",
            fix="let the measure give the error as well, 0 or 1 for each example",
        )
    losses = values[LOSS].astype(np.float64)
    return _Outcome(
        right=1.0 - values[ERROR].astype(np.float64),
        losses=np.where(np.isfinite(losses), losses, np.nan),
    )


def _compared(
    found: Mapping[str, _Outcome],
    untouched: _Outcome,
    generator: np.random.Generator,
    num_resamples: int,
) -> dict[str, tuple[PairedDifference, PairedDifference]]:
    """Changes of accuracy and of loss by group, all on the same resamples of the examples."""
    right, losses = [o.right for o in found.values()], [o.losses for o in found.values()]
    after = np.stack(right + losses, axis=1)
    before = [untouched.right] * len(right) + [untouched.losses] * len(losses)
    tested = paired_differences(
        after, np.stack(before, axis=1), generator=generator, num_resamples=num_resamples
    )
    pairs = zip(tested[: len(right)], tested[len(right) :], strict=True)
    return dict(zip(found, pairs, strict=True))


def _ends(tuned: _Outcome, begun: _Outcome) -> dict[str, Any]:
    return {
        "fine_tuned_accuracy": tuned.accuracy,
        "fine_tuned_loss_nats": tuned.loss_nats,
        "start_accuracy": begun.accuracy,
        "start_loss_nats": begun.loss_nats,
    }


def _row(
    group: str,
    known: WeightGroups,
    own: Weights,
    old: Weights,
    outcome: _Outcome,
    change: tuple[PairedDifference, PairedDifference],
) -> RollbackRow:
    names = set(known.named(group))
    end = {name: own[name].to("cpu", old[name].dtype) for name in own if name in names}
    begin: dict[str, Tensor] = {name: old[name] for name in end}
    length = norm(begin)
    return RollbackRow(
        group=group,
        layers=tuple(k for k, layer in enumerate(known.layers) if layer and set(layer) <= names),
        num_weights=sum(tensor.numel() for tensor in end.values()),
        weight_change=norm(difference(end, begin)) / length if length > 0 else float("nan"),
        accuracy=outcome.accuracy,
        accuracy_change=change[0],
        loss_nats=outcome.loss_nats,
        loss_change=change[1],
    )


def _majority(examples: Examples, split: str) -> float | None:
    labels = examples.labels.get(split)
    if labels is None:
        return None
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def _cells(row: RollbackRow) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "group": row.group,
        "layers": list(row.layers),
        "num_weights": row.num_weights,
        "weight_change": row.weight_change,
    }
    for name, value, change in (
        ("accuracy", row.accuracy, row.accuracy_change),
        ("loss_nats", row.loss_nats, row.loss_change),
    ):
        cells |= {
            name: value,
            f"{name}_change": change.mean.estimate,
            f"{name}_change_low": change.mean.low,
            f"{name}_change_high": change.mean.high,
            f"{name}_change_p_value": change.p_value,
        }
    return cells
