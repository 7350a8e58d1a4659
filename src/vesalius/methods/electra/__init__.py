"""ELECTRA pretraining with learned replacement sampling: objective, samplers, their variance.

Source: Clark et al. 2020, arXiv 2003.10555; arXiv 2106.13715 for the ideas of hardness prediction
and focal loss; the formulas are ours (paper.md).
"""

from vesalius.methods.electra.config import ElectraOptions, electra_preset
from vesalius.methods.electra.head_fit import fit_head
from vesalius.methods.electra.moments import Enumeration
from vesalius.methods.electra.objective import ElectraOutput, ReplacedTokenObjective
from vesalius.methods.electra.result import SlotExample, VarianceRatio, VarianceResult
from vesalius.methods.electra.sampling import (
    Draw,
    HeadScores,
    draw_replacements,
    focal_loss,
    importance_weights,
)
from vesalius.methods.electra.variance import probe_variance, variance_alarms, verify_variance

__all__ = [
    "Draw",
    "ElectraOptions",
    "ElectraOutput",
    "Enumeration",
    "HeadScores",
    "ReplacedTokenObjective",
    "SlotExample",
    "VarianceRatio",
    "VarianceResult",
    "draw_replacements",
    "electra_preset",
    "fit_head",
    "focal_loss",
    "importance_weights",
    "probe_variance",
    "variance_alarms",
    "verify_variance",
]
