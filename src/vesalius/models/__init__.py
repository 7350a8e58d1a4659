"""Rung 2: the only folder that knows Hugging Face classes."""

from vesalius.models.batch import Batch
from vesalius.models.check import CheckReport, check
from vesalius.models.edits import SlotEdit, slots_edited
from vesalius.models.encoding import MASK, answer_ids, encode_prompts, encode_texts
from vesalius.models.opening import open
from vesalius.models.parts import PartsRule, register_parts
from vesalius.models.specimen import Specimen

__all__ = [
    "MASK",
    "Batch",
    "CheckReport",
    "PartsRule",
    "SlotEdit",
    "Specimen",
    "answer_ids",
    "check",
    "encode_prompts",
    "encode_texts",
    "open",
    "register_parts",
    "slots_edited",
]
