"""Knowledge neurons: find the feed-forward neurons that hold a fact, turn them down and up.

Source: Dai et al., Knowledge Neurons in Pretrained Transformers, ACL 2022, arXiv 2104.08696.
"""

from vesalius.methods.knowledge_neurons.config import LocateConfig, locate_preset
from vesalius.methods.knowledge_neurons.controls import control_edits
from vesalius.methods.knowledge_neurons.evidence import evidence
from vesalius.methods.knowledge_neurons.intervene import (
    amplify,
    intervene,
    probs_scaled,
    scaling,
    suppress,
)
from vesalius.methods.knowledge_neurons.judge import JudgeConfig, judge, judge_erasure
from vesalius.methods.knowledge_neurons.judge_many import (
    JudgeTask,
    judge_item,
    judge_many,
    perplexity_facts,
)
from vesalius.methods.knowledge_neurons.judge_sequence import judge_sequence
from vesalius.methods.knowledge_neurons.locate import locate
from vesalius.methods.knowledge_neurons.pool import pool_verdicts
from vesalius.methods.knowledge_neurons.refine import coarse_set, refine, search_share
from vesalius.methods.knowledge_neurons.result import Evidence, Guess, Intervention, Location
from vesalius.methods.knowledge_neurons.sweep import LocateTask
from vesalius.methods.knowledge_neurons.verdict import (
    Measure,
    SequenceVerdict,
    Verdict,
    Verdicts,
)

__all__ = [
    "Evidence",
    "Guess",
    "Intervention",
    "JudgeConfig",
    "JudgeTask",
    "LocateConfig",
    "LocateTask",
    "Location",
    "Measure",
    "SequenceVerdict",
    "Verdict",
    "Verdicts",
    "amplify",
    "coarse_set",
    "control_edits",
    "evidence",
    "intervene",
    "judge",
    "judge_erasure",
    "judge_item",
    "judge_many",
    "judge_sequence",
    "locate",
    "locate_preset",
    "perplexity_facts",
    "pool_verdicts",
    "probs_scaled",
    "refine",
    "scaling",
    "search_share",
    "suppress",
]
