"""Options of the knowledge-neuron verbs, with the paper's numbers as defaults."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import final

from vesalius.core.errors import VesaliusError
from vesalius.methods.knowledge_neurons.refine import check_share
from vesalius.models.objectives import TargetKind
from vesalius.numerics.line_integral import refine_ladder
from vesalius.numerics.quadrature import Rule, rule
from vesalius.parallel.memory import parse_bytes


@final
@dataclass(frozen=True, kw_only=True)
class LocateConfig:
    """How neurons are scored and chosen.

    ``foil`` is the word that the target ``logit-difference`` tells the answer apart from.
    ``coarse_threshold`` is a share of a prompt's highest score (paper: 0.2). ``share`` is the part
    of the prompts that a neuron's coarse set must hold it in; None searches from ``start_share`` in
    steps of 0.05 until ``min_neurons`` to ``max_neurons`` are left (paper: 0.7, 2 to 5).
    """

    target: TargetKind = "probability"
    foil: str | None = None
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
                small, or an unknown rule or size.
        """
        for name in ("coarse_threshold", "share", "start_share"):
            value = getattr(self, name)
            if value is not None:
                check_share(name, value)
        for name, lowest, usual in (
            ("num_nodes", 1, 5),
            ("min_prompts", 0, 3),
            ("min_neurons", 1, 2),
            ("max_neurons", 1, 5),
        ):
            _check_count(name, getattr(self, name), lowest=lowest, usual=usual)
        if not _is_tolerance(self.tolerance):
            raise VesaliusError(
                given=f"tolerance={self.tolerance!r}",
                expected="a finite number from 0, a share of F(1) - F(0)",
                fix="leave it at 1e-3",
            )
        if not 1 <= self.min_neurons <= self.max_neurons:
            raise VesaliusError(
                given=f"min_neurons={self.min_neurons}, max_neurons={self.max_neurons}",
                expected="1 <= min_neurons <= max_neurons",
                fix="leave them at 2 and 5, the paper's range",
            )
        self.rules()
        parse_bytes(self.memory)

    def rules(self) -> tuple[Rule, ...]:
        """The quadrature rules to try in turn."""
        counts = refine_ladder(self.num_nodes) if self.refine else (self.num_nodes,)
        return tuple(rule(self.rule, count) for count in counts)


def _is_tolerance(value: object) -> bool:
    return isinstance(value, Real) and 0 <= float(value) < math.inf


def _check_count(name: str, value: object, *, lowest: int, usual: int) -> None:
    if not isinstance(value, Integral) or value < lowest:
        raise VesaliusError(
            given=f"{name}={value!r}",
            expected=f"a whole number from {lowest}",
            fix=f"use {name}={usual}",
        )
