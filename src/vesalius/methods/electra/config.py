"""What a pretraining with replaced tokens may be told: sampling, weights, losses."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType
from typing import Any, Final, Literal, final

from vesalius.core.checks import check_share, check_word, preset_of, words_of
from vesalius.core.errors import VesaliusError

Sampler = Literal["generator", "hardness-loss", "hardness-distribution"]
Hardness = Literal["loss", "gradient"]


@final
@dataclass(frozen=True, kw_only=True)
class ElectraOptions:
    """How replacements are drawn, weighed and learned from.

    ``sampler``: "generator" draws from the generator (ELECTRA); "hardness-loss" multiplies it with
    a predicted hardness of every token; "hardness-distribution" learns the distribution itself.
    ``hardness``: what is hard, the discriminator's "loss" in nats or its "gradient" in [0, 1].

    ``mask_prob``: share of a text's tokens that are slots; ``mask_token_prob`` of them show
    [MASK] to the generator, the others stay. ``temperature`` divides the generator's logits before
    they are drawn from, and falls or rises evenly to ``final_temperature``. ``exclude_original``
    never draws the token that stood there. ``focal_gamma`` 0 is the generator's cross entropy.

    ``importance_weights`` keep the discriminator's objective that of the generator's draws, at most
    ``max_weight`` each; ``normalise_weights`` makes their mean 1. The loss is that of the generator
    plus ``discriminator_weight`` times the discriminator's plus ``hardness_weight`` times that of
    the hardness head, which sends no gradient into the generator unless ``detach_head`` is false.
    ``hardness_floor`` is added to predicted hardness, so that every token can be drawn.

    Raises:
        VesaliusError: an option that cannot be.

    Source: Clark et al. 2020, arXiv 2003.10555; arXiv 2106.13715 for the ideas of hardness
    prediction and focal loss; the formulas are ours (paper.md).
    """

    sampler: Sampler = "generator"
    hardness: Hardness = "loss"
    mask_prob: float = 0.15
    mask_token_prob: float = 0.85
    temperature: float = 1.0
    final_temperature: float = 0.0
    exclude_original: bool = False
    focal_gamma: float = 0.0
    importance_weights: bool = True
    max_weight: float = 20.0
    normalise_weights: bool = False
    discriminator_weight: float = 50.0
    hardness_weight: float = 1.0
    detach_head: bool = True
    hardness_floor: float = 0.02

    def __post_init__(self) -> None:
        check_word("sampler", self.sampler, words_of(Sampler))
        check_word("hardness", self.hardness, words_of(Hardness))
        check_share("mask_prob", self.mask_prob, usual=0.15)
        check_share("mask_token_prob", self.mask_token_prob, usual=0.85, zero=True)
        for name, usual in (("temperature", 1.0), ("max_weight", 20.0), ("hardness_floor", 0.02)):
            _check_positive(name, getattr(self, name), usual=usual)
        for name, usual in (
            ("final_temperature", 0.0),
            ("focal_gamma", 1.0),
            ("discriminator_weight", 50.0),
            ("hardness_weight", 1.0),
        ):
            _check_positive(name, getattr(self, name), usual=usual, zero=True)

    @property
    def has_head(self) -> bool:
        """Whether a hardness head is trained."""
        return self.sampler != "generator"

    def temperature_at(self, share: float) -> float:
        """Return the temperature when ``share`` of the steps is done, from 0 to 1.

        >>> ElectraOptions(temperature=2.0, final_temperature=1.0).temperature_at(0.25)
        1.75
        """
        end = self.final_temperature or self.temperature
        return self.temperature + (end - self.temperature) * share


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "plain": {},
        "focal": {"focal_gamma": 1.0},
        "hardness-loss": {"sampler": "hardness-loss"},
        "hardness-distribution": {"sampler": "hardness-distribution"},
        "hardness+focal": {"sampler": "hardness-loss", "focal_gamma": 1.0},
        "temperature": {"temperature": 1.3},
    }
)


def electra_preset(name: str, **changes: Any) -> ElectraOptions:
    """Return the options of an arm of the comparison by its name, with changes.

    Raises:
        VesaliusError: an unknown name or option, or a value that cannot be.

    Source: the arms of reproductions/electra.

    >>> electra_preset("hardness+focal", focal_gamma=2.0).sampler
    'hardness-loss'
    """
    return preset_of(ElectraOptions, PRESETS, name, changes)


def _check_positive(name: str, value: object, *, usual: float, zero: bool = False) -> None:
    number = float(value) if isinstance(value, Real) else math.nan
    if math.isfinite(number) and (number > 0 or (zero and number == 0)):
        return
    raise VesaliusError(
        given=f"{name}={value!r}",
        expected="a number from 0" if zero else "a number above 0",
        fix=f"{name}={usual}",
    )
