"""Self-attention attribution: which token read which; heads, real pruning, triggers.

Source: Hao et al., Self-Attention Attribution: Interpreting Information Interactions Inside
Transformer, AAAI 2021, arXiv 2004.11207.
"""

from vesalius.methods.attention_attribution.attack import attack
from vesalius.methods.attention_attribution.attack_result import Attack
from vesalius.methods.attention_attribution.attribute import attribute
from vesalius.methods.attention_attribution.config import AttributeConfig, attribute_preset
from vesalius.methods.attention_attribution.faithfulness import faithfulness
from vesalius.methods.attention_attribution.faithfulness_result import Faithfulness
from vesalius.methods.attention_attribution.graph import Graph, Hierarchy, build_graph, hierarchy
from vesalius.methods.attention_attribution.head_result import (
    HeadCorrelation,
    HeadImportance,
    correlate_heads,
)
from vesalius.methods.attention_attribution.head_study import HeadStudy, head_study
from vesalius.methods.attention_attribution.heads import head_importance
from vesalius.methods.attention_attribution.layer_links import LayerLinks
from vesalius.methods.attention_attribution.plot import (
    plot_correlation,
    plot_graph,
    plot_importance,
    plot_receptive_field,
    plot_tau_sweep,
    plot_tree,
)
from vesalius.methods.attention_attribution.prune_curve import PruneCurve, prune_curve
from vesalius.methods.attention_attribution.pruning import PrunedModel, prune, removal_units
from vesalius.methods.attention_attribution.result import Attributions, Example
from vesalius.methods.attention_attribution.sweep import AttributeTask
from vesalius.methods.attention_attribution.tree import (
    TauSweep,
    Tree,
    build_tree,
    receptive_field,
    sweep_tau,
)
from vesalius.methods.attention_attribution.trigger_result import Trigger, Triggers
from vesalius.methods.attention_attribution.triggers import find_triggers

__all__ = [
    "Attack",
    "AttributeConfig",
    "AttributeTask",
    "Attributions",
    "Example",
    "Faithfulness",
    "Graph",
    "HeadCorrelation",
    "HeadImportance",
    "HeadStudy",
    "Hierarchy",
    "LayerLinks",
    "PruneCurve",
    "PrunedModel",
    "TauSweep",
    "Tree",
    "Trigger",
    "Triggers",
    "attack",
    "attribute",
    "attribute_preset",
    "build_graph",
    "build_tree",
    "correlate_heads",
    "faithfulness",
    "find_triggers",
    "head_importance",
    "head_study",
    "hierarchy",
    "plot_correlation",
    "plot_graph",
    "plot_importance",
    "plot_receptive_field",
    "plot_tau_sweep",
    "plot_tree",
    "prune",
    "prune_curve",
    "receptive_field",
    "removal_units",
    "sweep_tau",
]
