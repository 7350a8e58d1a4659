"""What a robustness study varies, and how often: a description, before anything is drawn.

Source: arXiv 2205.10183, sections 4.3 and 5 (nine templates, nine class proportions in twelve
orders, nine proportions of the estimate set, ten sizes of it with five draws, five seeds).
"""

from dataclasses import dataclass
from typing import Final, final

from vesalius.core.checks import check_count, check_share, check_word
from vesalius.core.errors import VesaliusError
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration.calibrators import METHODS

# what is varied -> what is repeated, the unit over which intervals and tests are taken: templates
# and orders are drawn from many, so are demonstrations and estimate sets (seeds)
UNITS: Final[dict[str, str]] = {
    "template": "condition",
    "order": "condition",
    "proportion": "cell",
    "estimate-proportion": "seed",
    "estimate-size": "seed",
    "shots": "seed",
    "seed": "seed",
}
AXES: Final = tuple(UNITS)
_NINTHS: Final = tuple(i / 8 for i in range(9))


@final
@dataclass(frozen=True, kw_only=True)
class StudyDesign:
    """What is varied, and how often; the defaults are the paper's numbers.

    ``shots`` are the values of that axis, ``base_shots`` those of every other one but
    ``proportion``, which has ``proportion_shots``. ``num_seeds`` draws of demonstrations (with a
    draw of the estimate set each) repeat an axis; ``num_orders`` orders of one draw;
    ``proportion_draws`` draws, each in an order of its own, of each share in ``proportions`` of
    class ``leading``, the other classes keeping their shares among themselves. The estimate set
    has ``estimate_per_class`` texts for each class, drawn without a look at labels;
    ``estimate_sizes`` count per class as well. ``estimate_shares`` are of class ``leading``.
    """

    axes: tuple[str, ...] = AXES
    methods: tuple[str, ...] = ("none", "contextual", "batch", "prototypical")
    shots: tuple[int, ...] = (0, 1, 4, 8)
    base_shots: int = 4
    num_seeds: int = 5
    num_orders: int = 12
    proportions: tuple[float, ...] = _NINTHS
    proportion_shots: int = 8
    proportion_draws: int = 12
    leading: int = 0
    estimate_per_class: int = 100
    estimate_sizes: tuple[int, ...] = (2, 4, 8, 12, 16, 25, 35, 50, 75, 100)
    estimate_shares: tuple[float, ...] = _NINTHS

    def __post_init__(self) -> None:
        """Refuse what no study can follow.

        Raises:
            VesaliusError: an unknown axis or method, a number out of range, or a size of more
                texts than are scored.
        """
        for axis in self.axes:
            check_word("axis", axis, AXES)
        for method in self.methods:
            check_word("method", method, tuple(METHODS))
        counts = {
            "num_seeds": 5,
            "num_orders": 12,
            "proportion_draws": 12,
            "estimate_per_class": 100,
        }
        for name, usual in counts.items():
            check_count(name, getattr(self, name), lowest=1, usual=usual)
        for name in ("base_shots", "proportion_shots", "leading"):
            check_count(name, getattr(self, name), lowest=0, usual=0)
        for number in self.shots:
            check_count("shots", number, lowest=0, usual=4)
        for share in (*self.proportions, *self.estimate_shares):
            check_share("proportion", share, usual=0.5, zero=True)
        self._check_whole()

    def _check_whole(self) -> None:
        if not self.axes or not self.methods or "generative" in self.methods:
            raise VesaliusError(
                given=f"axes {self.axes}, methods {self.methods}",
                expected="an axis and a method or more; generative needs texts that the model "
                "writes anew for every prompt, which no study does",
                fix="leave generative out, and compare it on one prompt",
            )
        for size in self.estimate_sizes:
            check_count("estimate_sizes", size, lowest=1, usual=50)
            if size > self.estimate_per_class:
                raise VesaliusError(
                    given=f"an estimate size of {size} for each class",
                    expected=f"at most estimate_per_class={self.estimate_per_class}",
                    fix=f"estimate_per_class={size}, or leave that size out",
                )


@final
@dataclass(frozen=True, kw_only=True)
class Condition:
    """One cell of the study: which prompt (its place in the plan), which estimate set."""

    axis: str
    name: str
    place: float  # where it stands on a curve: a share, a number of shots or of texts
    seed: int  # the repetition
    prompt: int
    estimate: tuple[LabelledRow, ...]


@final
@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """The distinct prompts, the texts to estimate from under each, and the conditions.

    ``left_out`` says why an axis is missing, ``notes`` where a number is smaller than asked for.
    """

    prompts: tuple[LabelPrompt, ...]
    pools: tuple[tuple[LabelledRow, ...], ...]
    conditions: tuple[Condition, ...]
    left_out: dict[str, str]
    notes: tuple[str, ...]

    def num_texts(self, num_test: int) -> int:
        """Count the texts to be scored: those to judge by and to estimate from, every prompt."""
        return sum(num_test + len(pool) for pool in self.pools)
