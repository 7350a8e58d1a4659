"""The result of ``attention attack``: what a classifier says with triggers put into its texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, register_result
from vesalius.methods.attention_attribution.attack_controls import RANDOM, Control
from vesalius.methods.attention_attribution.attack_drops import (
    class_drops,
    drop_difference,
    worst_class,
)
from vesalius.methods.attention_attribution.trigger_result import Trigger
from vesalius.numerics.statistics import (
    Interval,
    PairedDifference,
    bootstrap_interval,
    paired_difference,
)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Transfer:
    """Classes, named as the attacked model names them, that another model gives the same texts.

    ``clean`` [text], ``attacked`` [trigger, text]; ``random`` [control, text] for the controls of
    the kind ``random``, in their order.
    """

    model: str
    fingerprint: str
    clean: Int[np.ndarray, " text"]
    attacked: Int[np.ndarray, "trigger text"]
    random: Int[np.ndarray, "control text"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Fluency:
    """Perplexities by a language model: ``clean`` [text], ``attacked`` [trigger, text]."""

    model: str
    fingerprint: str
    clean: Float[np.ndarray, " text"]
    attacked: Float[np.ndarray, "trigger text"]

    def medians(self) -> tuple[float, Float[np.ndarray, " trigger"]]:
        """Give the median over texts, clean and with each trigger [trigger]."""
        return float(np.nanmedian(self.clean)), np.nanmedian(self.attacked, axis=1)


@final
@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A trigger beside its controls of one kind: accuracy lost in the class that is hurt most.

    ``drop`` is the trigger's, in ``worst``; ``control_drop`` is the mean over controls of theirs,
    each in its own worst class, with their ``lowest`` and ``highest``. ``difference`` is the
    trigger's minus that mean; ``num_weaker`` of ``num_controls`` take less than the trigger.
    """

    trigger: int
    kind: str
    worst: str
    drop: float
    control_drop: float
    lowest: float
    highest: float
    difference: Interval
    num_weaker: int
    num_controls: int

    @property
    def beats(self) -> bool:
        """Whether the trigger takes more than its controls: the interval excludes 0."""
        return self.difference.low > 0


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Attack(AbstractResult):
    """What a classifier says of texts with the tokens of triggers put in, beside controls.

    ``gold`` [text] are the right classes, by their place in ``class_names``, ``clean`` [text] what
    the model says of the texts, ``attacked`` [trigger, text] with a trigger, ``controlled``
    [control, text] with the tokens of a control. ``transfer`` and ``fluency`` are None where not
    asked for.
    """

    kind: ClassVar[str] = "attention_attribution.attack"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("attention_attribution",)

    class_names: tuple[str, ...]
    triggers: tuple[Trigger, ...]
    controls: tuple[Control, ...]
    gold: Int[np.ndarray, " text"]
    clean: Int[np.ndarray, " text"]
    attacked: Int[np.ndarray, "trigger text"]
    controlled: Int[np.ndarray, "control text"]
    transfer: Transfer | None
    fluency: Fluency | None
    verdict: str

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes that the texts have, in order."""
        return tuple(int(c) for c in np.unique(self.gold))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of controls that were taken."""
        return tuple(dict.fromkeys(control.kind for control in self.controls))

    def accuracy(self, gold: int, trigger: int | None = None) -> Interval:
        """Bracket the accuracy on texts of a class, clean or with a trigger.

        Raises:
            VesaliusError: no text of that class, or no such trigger.
        """
        return bootstrap_interval(self._right(gold, trigger).astype(np.float64),
                                  generator=self._generator())  # fmt: skip

    def difference(self, gold: int, trigger: int) -> PairedDifference:
        """Compare the accuracy on texts of a class with a trigger and without, text by text.

        Raises:
            VesaliusError: no text of that class, or no such trigger.
        """
        with_it, clean = self._right(gold, trigger), self._right(gold, None)
        return paired_difference(with_it.astype(np.float64), clean.astype(np.float64),
                                 generator=self._generator())  # fmt: skip

    def flipped(self, gold: int, trigger: int) -> float:
        """Give the share of a class's texts, right before, that a trigger makes wrong.

        Raises:
            VesaliusError: no text of that class, or no such trigger.
        """
        clean = self._right(gold, None)
        wrong = clean & ~self._right(gold, trigger)
        return float(wrong.sum() / clean.sum()) if clean.any() else 0.0

    def compare(self, trigger: int, kind: str = RANDOM) -> Comparison | None:
        """Hold a trigger against its controls of a kind; None where it has none.

        Raises:
            VesaliusError: no such trigger.
        """
        self._check(trigger)
        mine = [i for i, c in enumerate(self.controls) if c.trigger == trigger and c.kind == kind]
        return self._compared(
            trigger, kind, self.clean, self.attacked[trigger], self.controlled[mine]
        )

    def compare_transfer(self, trigger: int) -> Comparison | None:
        """Hold a trigger against its random controls on the other model; None without both.

        Raises:
            VesaliusError: no such trigger.
        """
        self._check(trigger)
        if self.transfer is None:
            return None
        random = [c for c in self.controls if c.kind == RANDOM]
        mine = [i for i, control in enumerate(random) if control.trigger == trigger]
        other = self.transfer
        return self._compared(
            trigger, RANDOM, other.clean, other.attacked[trigger], other.random[mine]
        )

    def to_table(self) -> pa.Table:
        """One row per trigger and class: accuracy before and after, and what controls leave.

        Source: table 5 of arXiv 2004.11207.
        """
        from vesalius.methods.attention_attribution.attack_tables import class_table

        return class_table(self)

    def to_summary(self) -> pa.Table:
        """One row per trigger and kind of control: the worst class's drop beside theirs.

        Source: this project.
        """
        from vesalius.methods.attention_attribution.attack_tables import summary_table

        return summary_table(self)

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw the accuracy of each trigger's worst class, clean, attacked and with controls.

        Source: this project.
        """
        from vesalius.methods.attention_attribution.trigger_report import plot_attack

        return plot_attack(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.attention_attribution.trigger_report import write_attack

        return write_attack(self, path, force=force)

    def _compared(
        self, trigger: int, kind: str, clean: np.ndarray, attacked: np.ndarray, others: np.ndarray
    ) -> Comparison | None:
        if not len(others):
            return None
        before, after, controls = (each == self.gold for each in (clean, attacked, others))
        mine = class_drops(before, after[None], self.gold)[0]
        theirs = class_drops(before, controls, self.gold).max(axis=1)
        return Comparison(
            trigger=trigger,
            kind=kind,
            worst=self.class_names[worst_class(mine, self.classes)],
            drop=float(mine.max()),
            control_drop=float(theirs.mean()),
            lowest=float(theirs.min()),
            highest=float(theirs.max()),
            difference=drop_difference(
                before, after, controls, self.gold, generator=self._generator()
            ),
            num_weaker=int((theirs < mine.max()).sum()),
            num_controls=len(others),
        )

    def _right(self, gold: int, trigger: int | None) -> Bool[np.ndarray, " text"]:
        if gold not in self.classes:
            raise VesaliusError(
                given=f"class {gold}",
                expected=f"a class that the texts have: {', '.join(map(str, self.classes))}",
                fix="look names up in class_names",
            )
        if trigger is not None:
            self._check(trigger)
        said = self.clean if trigger is None else self.attacked[trigger]
        return (said == self.gold)[self.gold == gold]

    def _check(self, trigger: int) -> None:
        if not 0 <= trigger < len(self.triggers):
            raise VesaliusError(
                given=f"trigger {trigger}",
                expected=f"0 to {len(self.triggers) - 1}",
                fix="count from 0, the strongest first",
            )

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(self.card.seed or 0)
