"""Options of attention attribution, with the paper's numbers as a preset."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from vesalius.core.checks import check_count, check_tolerance, check_word, preset_of, words_of
from vesalius.core.errors import VesaliusError
from vesalius.models.objectives import TargetKind
from vesalius.numerics.line_integral import refine_ladder
from vesalius.numerics.quadrature import Rule, rule
from vesalius.parallel.memory import parse_bytes

Baseline = Literal["zero", "uniform", "mean", "without-words"]


@final
@dataclass(frozen=True, kw_only=True)
class AttributeConfig:
    """How attention is attributed, and what of it is kept.

    ``target`` is what is attributed. ``baseline`` is where the line to a layer's attention begins:
    nobody reads anybody (``zero``, the paper), every token reads all it can see alike
    (``uniform``), the ``mean`` attention of ``reference`` texts (``reference_pairs`` their second
    texts) position by position, or the attention to the same input with all word vectors zero
    (``without-words``). ``keep`` stores so many links of each head, the strongest ones, instead of
    all (0). ``pad_to`` pads every text to so many positions. ``memory`` bounds what a run takes.
    """

    target: TargetKind = "probability"
    baseline: Baseline = "zero"
    reference: tuple[str, ...] = ()
    reference_pairs: tuple[str, ...] = ()
    rule: str = "gauss_radau"
    num_nodes: int = 8
    refine: bool = True
    tolerance: float = 1e-3
    keep: int = 0
    pad_to: int | None = None
    memory: str = "2GiB"

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            VesaliusError: an unknown word, rule or size, a number that is none or too small, or a
                reference without the baseline that needs it, or the reverse.
        """
        check_word("target", self.target, words_of(TargetKind))
        check_word("baseline", self.baseline, words_of(Baseline))
        if (self.baseline == "mean") != bool(self.reference) or isinstance(self.reference, str):
            raise VesaliusError(
                given=f"baseline={self.baseline!r} with {len(self.reference)} reference texts",
                expected="reference=(texts, ...) for the baseline mean, and for no other",
                fix="pass texts like those that are explained, or leave both out",
            )
        if self.reference_pairs and len(self.reference_pairs) != len(self.reference):
            raise VesaliusError(
                given=f"{len(self.reference)} reference texts, {len(self.reference_pairs)} second",
                expected="a second text for each",
                fix="pass as many reference_pairs as reference texts",
            )
        check_count("num_nodes", self.num_nodes, lowest=1, usual=8)
        check_count("keep", self.keep, lowest=0, usual=0)
        if self.pad_to is not None:
            check_count("pad_to", self.pad_to, lowest=1, usual=128)
        check_tolerance(self.tolerance)
        self.rules()
        parse_bytes(self.memory)

    def rules(self) -> tuple[Rule, ...]:
        """The quadrature rules to try in turn."""
        counts = refine_ladder(self.num_nodes) if self.refine else (self.num_nodes,)
        return tuple(rule(self.rule, count) for count in counts)


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "default": {},
    # left end points and padding of the authors' code, with the 20 points that the paper names;
    # for explanations and triggers the code takes 64: attribute_preset("paper", num_nodes=64)
    "paper": {"rule": "left_riemann", "num_nodes": 20, "refine": False, "pad_to": 128},
}


def attribute_preset(name: str, **changes: Any) -> AttributeConfig:
    """Give the options of a preset, ``default`` or ``paper``, with changes; no shapes.

    >>> attribute_preset("paper").num_nodes
    20

    Raises:
        VesaliusError: an unknown preset or option, or a value that has no meaning.

    Source: arXiv 2004.11207 and its code.
    """
    return preset_of(AttributeConfig, PRESETS, name, changes)


def chosen_config(config: AttributeConfig | None, preset: str | None) -> AttributeConfig:
    """Give the options that a verb was called with: a config, a preset, or neither; no shapes.

    Raises:
        VesaliusError: both, or an unknown preset.

    Source: this project.
    """
    if config is not None and preset is not None:
        raise VesaliusError(
            given=f"a config and preset={preset!r}",
            expected="at most one of the two",
            fix=f"pass config=attribute_preset({preset!r}, ...) with the changes you want",
        )
    return config or attribute_preset(preset or "default")
