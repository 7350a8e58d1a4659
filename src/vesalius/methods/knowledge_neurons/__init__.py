"""Knowledge neurons: find the feed-forward neurons that hold a fact, turn them down and up.

Source: Dai et al., Knowledge Neurons in Pretrained Transformers, ACL 2022, arXiv 2104.08696.
"""

from vesalius.methods.knowledge_neurons.config import LocateConfig, locate_preset
from vesalius.methods.knowledge_neurons.evidence import evidence
from vesalius.methods.knowledge_neurons.intervene import (
    amplify,
    intervene,
    probs_scaled,
    scaling,
    suppress,
)
from vesalius.methods.knowledge_neurons.locate import locate
from vesalius.methods.knowledge_neurons.refine import coarse_set, refine, search_share
from vesalius.methods.knowledge_neurons.result import Evidence, Guess, Intervention, Location
from vesalius.methods.knowledge_neurons.sweep import LocateTask

__all__ = [
    "Evidence",
    "Guess",
    "Intervention",
    "LocateConfig",
    "LocateTask",
    "Location",
    "amplify",
    "coarse_set",
    "evidence",
    "intervene",
    "locate",
    "locate_preset",
    "probs_scaled",
    "refine",
    "scaling",
    "search_share",
    "suppress",
]
