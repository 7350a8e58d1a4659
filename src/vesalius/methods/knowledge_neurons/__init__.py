"""Knowledge neurons: find the feed-forward neurons that hold a fact; turn, edit, erase, judge.

Source: Dai et al., Knowledge Neurons in Pretrained Transformers, ACL 2022, arXiv 2104.08696.
"""

from vesalius.methods.knowledge_neurons.activation_result import Activations
from vesalius.methods.knowledge_neurons.activations import activations
from vesalius.methods.knowledge_neurons.config import LocateConfig, locate_preset
from vesalius.methods.knowledge_neurons.controls import control_edits
from vesalius.methods.knowledge_neurons.corpus import Corpus, corpus_statistics, read_sets
from vesalius.methods.knowledge_neurons.edits import Edit, edited, write_checkpoint
from vesalius.methods.knowledge_neurons.erase import erase
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
from vesalius.methods.knowledge_neurons.located import (
    CorpusConfig,
    LocatedFact,
    read_located,
    refined_sets,
)
from vesalius.methods.knowledge_neurons.pool import pool_verdicts
from vesalius.methods.knowledge_neurons.rank_one import rank_one
from vesalius.methods.knowledge_neurons.refine import coarse_set, refine, search_share
from vesalius.methods.knowledge_neurons.relations import (
    HeldFact,
    RelationChanges,
    held_facts,
    intervene_relations,
)
from vesalius.methods.knowledge_neurons.result import Evidence, Guess, Intervention, Location
from vesalius.methods.knowledge_neurons.sweep import LocateTask
from vesalius.methods.knowledge_neurons.update import update
from vesalius.methods.knowledge_neurons.verdict import Measure, SequenceVerdict, Verdict, Verdicts

__all__ = [
    "Activations",
    "Corpus",
    "CorpusConfig",
    "Edit",
    "Evidence",
    "Guess",
    "HeldFact",
    "Intervention",
    "JudgeConfig",
    "JudgeTask",
    "LocateConfig",
    "LocateTask",
    "LocatedFact",
    "Location",
    "Measure",
    "RelationChanges",
    "SequenceVerdict",
    "Verdict",
    "Verdicts",
    "activations",
    "amplify",
    "coarse_set",
    "control_edits",
    "corpus_statistics",
    "edited",
    "erase",
    "evidence",
    "held_facts",
    "intervene",
    "intervene_relations",
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
    "rank_one",
    "read_located",
    "read_sets",
    "refine",
    "refined_sets",
    "scaling",
    "search_share",
    "suppress",
    "update",
    "write_checkpoint",
]
