"""Options of the knowledge-neuron verbs, with the paper's numbers as defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from vesalius.core.checks import (
    check_count,
    check_share,
    check_tolerance,
    check_word,
    preset_of,
    words_of,
)
from vesalius.core.errors import VesaliusError
from vesalius.models.objectives import TargetKind
from vesalius.numerics.line_integral import refine_ladder
from vesalius.numerics.quadrature import Rule, rule
from vesalius.parallel.memory import parse_bytes

Target = TargetKind | Literal["sequence-log-probability"]
SEQUENCE: Final = "sequence-log-probability"
Baseline = Literal["zero", "mean", "uniform"]
Selector = Literal["attribution", "activation"]

ACTIVATION_THRESHOLD: Final = 0.5  # of the paper's baseline that selects by activation


@final
@dataclass(frozen=True, kw_only=True)
class LocateConfig:
    """How neurons are scored and chosen.

    ``target`` is what is attributed; ``sequence-log-probability`` takes answers of several tokens,
    teacher forced, and sums over them. ``foil`` is the word that the target ``logit-difference``
    tells the answer apart from. ``baseline`` is where the line to the clean neurons begins: at
    zero (the paper), at the ``mean`` of their values on the ``reference`` prompts, or at each of
    those in turn, ``uniform`` over them, the attributions averaged (expected gradients). ``pad_to``
    pads prompts to so many positions. ``selector`` is what a coarse set is cut from; ``activation``
    is the paper's baseline and keeps the attributions beside it.

    ``coarse_threshold`` is a share of a prompt's highest score (paper: 0.2). ``share`` is the part
    of the prompts that a neuron's coarse set must hold it in; None searches from ``start_share`` in
    steps of 0.05 until ``min_neurons`` to ``max_neurons`` are left (paper: 0.7, 2 to 5).
    """

    target: Target = "probability"
    foil: str | None = None
    baseline: Baseline = "zero"
    reference: tuple[str, ...] = ()
    selector: Selector = "attribution"
    pad_to: int | None = None
    rule: str = "gauss_radau"
    num_nodes: int = 5
    refine: bool = True
    tolerance: float = 1e-3
    coarse_threshold: float = 0.2
    share: float | None = None
    start_share: float = 0.7
    min_prompts: int = 3
    min_neurons: int = 2
    max_neurons: int = 5
    memory: str = "2GiB"

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            VesaliusError: a share or threshold outside (0, 1], a number that is none or too
                small, an unknown word, rule or size, or a baseline without its reference.
        """
        for name, kind in (("target", Target), ("baseline", Baseline), ("selector", Selector)):
            check_word(name, getattr(self, name), words_of(kind))
        self._check_reference()
        if self.pad_to is not None:
            check_count("pad_to", self.pad_to, lowest=1, usual=128)
        for name in ("coarse_threshold", "share", "start_share"):
            value = getattr(self, name)
            if value is not None:
                check_share(name, value, usual=0.7)
        for name, lowest, usual in (
            ("num_nodes", 1, 5),
            ("min_prompts", 0, 3),
            ("min_neurons", 1, 2),
            ("max_neurons", 1, 5),
        ):
            check_count(name, getattr(self, name), lowest=lowest, usual=usual)
        check_tolerance(self.tolerance)
        if not 1 <= self.min_neurons <= self.max_neurons:
            raise VesaliusError(
                given=f"min_neurons={self.min_neurons}, max_neurons={self.max_neurons}",
                expected="1 <= min_neurons <= max_neurons",
                fix="leave them at 2 and 5, the paper's range",
            )
        self.rules()
        parse_bytes(self.memory)

    def _check_reference(self) -> None:
        if isinstance(self.reference, str) or (self.baseline == "zero") != (not self.reference):
            count = (
                "one text" if isinstance(self.reference, str) else f"{len(self.reference)} texts"
            )
            raise VesaliusError(
                given=f"baseline={self.baseline!r} with a reference of {count}",
                expected="reference prompts for the baselines mean and uniform, and for no other",
                fix="pass reference=(prompts of other facts), or leave both out",
            )

    def rules(self) -> tuple[Rule, ...]:
        """The quadrature rules to try in turn."""
        counts = refine_ladder(self.num_nodes) if self.refine else (self.num_nodes,)
        return tuple(rule(self.rule, count) for count in counts)


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "default": {},
    # the authors' code: 20 left end points, no refinement, every prompt padded to 128 positions
    "paper": {"rule": "left_riemann", "num_nodes": 20, "refine": False, "pad_to": 128},
    "activation": {"selector": "activation", "coarse_threshold": ACTIVATION_THRESHOLD},
}


def locate_preset(name: str, **changes: Any) -> LocateConfig:
    """Give the options of a preset: ``default``, ``paper`` or ``activation``; no shapes.

    ``paper`` is the quadrature and the padding of the authors' code. ``activation`` is their
    baseline, which takes a neuron's value for its score, with their threshold.

    >>> locate_preset("paper").num_nodes
    20

    Raises:
        VesaliusError: an unknown preset or option, or a value that has no meaning.

    Source: arXiv 2104.08696 and its code.
    """
    return preset_of(LocateConfig, PRESETS, name, changes)
