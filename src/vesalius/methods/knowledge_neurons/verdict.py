"""What judges return: measures before and after an edit, beside those of control edits."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, final

import pyarrow as pa

from vesalius.core.result import AbstractResult, register_result

WAYS: Final = {
    "forced": "teacher forced",
    "free": "said freely",
    "accuracy": "answered right",
    "rank": "rank",
    "ratio": "ratio",
    "perplexity": "perplexity",
    "bits": "bits",
}


@final
@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure before and after an edit.

    ``way`` is how it was taken: "forced" (teacher forced), "free" (greedy generation) and
    "accuracy" are shares from 0 to 1, "rank" counts from 1, "ratio" divides after by before,
    "perplexity" is exp(mean(-ln p)), "bits" an entropy. ``count`` is how many prompts (of one
    case) or cases (of many) it averages over. Intervals hold 95 %: ``low`` to ``high`` over the
    cases, or over the facts that an erasure is judged by, ``control_low`` to ``control_high`` over
    the controls; NaN where there are none.
    """

    name: str
    way: str
    count: int
    before: float
    after: float
    low: float = math.nan
    high: float = math.nan
    control: float = math.nan
    control_low: float = math.nan
    control_high: float = math.nan

    @property
    def change(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def words(self) -> str:
        """The name as people write it."""
        return self.name.replace("_", " ")


@dataclass(frozen=True, kw_only=True, eq=False)
class AbstractVerdict(AbstractResult):
    """What every verdict says: the measures, and one sentence for people."""

    method: str
    sentence: str
    measures: tuple[Measure, ...]

    def get(self, name: str, way: str = "forced") -> Measure:
        """Give the measure of a name and a way; no shapes.

        Raises:
            KeyError: it was not taken.
        """
        for each in self.measures:
            if (each.name, each.way) == (name, way):
                return each
        raise KeyError(f"{name}, {way}: not among {[(m.name, m.way) for m in self.measures]}")

    def to_table(self) -> pa.Table:
        """One row per measure: name, way, count, before, after, change, intervals, control.

        Source: tables 4 and 5 of arXiv 2104.08696.
        """
        rows = [asdict(each) | {"change": each.change} for each in self.measures]
        return pa.Table.from_pylist(rows)

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw bars before and after: the shares into ``ax``, or all panels into a new figure.

        Returns:
            The matplotlib Axes of the first panel.

        Source: this project, plots/before_after.py.
        """
        from vesalius.methods.knowledge_neurons.verdict_report import plot_verdict

        return plot_verdict(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.knowledge_neurons.verdict_report import write_verdict

        return write_verdict(self, path, force=force)

    def title(self) -> str:
        """Say in a few words what was judged."""
        return f"{self.method} edit of {self.card.model}"


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict(AbstractVerdict):
    """What one edit did.

    ``probes`` has a row per prompt: group, kind, prompt, wanted, whether it came out as it should
    (``forced_before``, ``forced_after``, ``free_before``, ``free_after``), the texts said freely,
    probability and rank of the wanted answer, and rank of the old one (0 where there is none).
    """

    kind: ClassVar[str] = "knowledge_neurons.verdict"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("knowledge_neurons",)

    name: str
    relation: str
    subject: str
    answer: str
    new_answer: str
    num_controls: int
    probes: pa.Table

    def title(self) -> str:
        """Say in a few words what was judged."""
        what = f"{self.subject or self.name}: {self.answer} → {self.new_answer}"
        return what if self.new_answer else f"{self.relation or self.name} erased"

    def row(self) -> dict[str, Any]:
        """Lay the verdict out as one row of a table of many; :func:`pool_verdicts` reads such rows.

        Source: this project.
        """
        told: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("name", "relation", "subject", "answer", "new_answer", "method")
        }
        for each in self.measures:
            key = f"{each.name}.{each.way}"
            told |= {f"{key}.before": each.before, f"{key}.after": each.after}
            told[f"{key}.control"] = None if math.isnan(each.control) else each.control
        return told | {"sentence": self.sentence}


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Verdicts(AbstractVerdict):
    """What many edits did, each alone on the untouched model; ``cases`` has a row per case."""

    kind: ClassVar[str] = "knowledge_neurons.verdicts"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("knowledge_neurons",)

    cases: pa.Table

    def title(self) -> str:
        """Say in a few words what was judged."""
        return f"{self.cases.num_rows} edits ({self.method}) of {self.card.model}"


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SequenceVerdict(AbstractVerdict):
    """What edits did that were made one on top of the other.

    ``steps`` has a row per edit: its case, whether it held right after it was made
    (``reliability_now``), and over everything asked so far the reliability of all edits made and
    the shares of neighbours and unrelated prompts whose answers are still those of the untouched
    model (teacher forced). ``measures`` compare the untouched model with the one that has them all.
    """

    kind: ClassVar[str] = "knowledge_neurons.sequence_verdict"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("knowledge_neurons",)

    steps: pa.Table

    def title(self) -> str:
        """Say in a few words what was judged."""
        return f"{self.steps.num_rows} edits, one on top of the other, of {self.card.model}"


def shown(measures: Sequence[Measure], ways: Sequence[str]) -> list[Measure]:
    """Choose the measures taken in some ways, in their order.

    Source: this project.
    """
    return [each for each in measures if each.way in ways]
