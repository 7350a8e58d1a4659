"""Rung 2: the only folder that knows Hugging Face classes.

The names below are imported when first used: asking which models are bundled loads no torch.
"""

from typing import TYPE_CHECKING

from vesalius.core.lazy import lazy_names

if TYPE_CHECKING:
    from vesalius.models.batch import Batch as Batch
    from vesalius.models.checking import CheckReport as CheckReport
    from vesalius.models.checking import check as check
    from vesalius.models.edits import SlotEdit as SlotEdit
    from vesalius.models.edits import slots_edited as slots_edited
    from vesalius.models.encoding import MASK as MASK
    from vesalius.models.encoding import answer_ids as answer_ids
    from vesalius.models.encoding import encode_prompts as encode_prompts
    from vesalius.models.opening import open as open
    from vesalius.models.parts import PartsRule as PartsRule
    from vesalius.models.parts import register_parts as register_parts
    from vesalius.models.specimen import Specimen as Specimen
    from vesalius.models.texts import encode_texts as encode_texts

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

_LAZY = {
    "Batch": ("vesalius.models.batch", "Batch"),
    "CheckReport": ("vesalius.models.checking", "CheckReport"),
    "MASK": ("vesalius.models.encoding", "MASK"),
    "PartsRule": ("vesalius.models.parts", "PartsRule"),
    "SlotEdit": ("vesalius.models.edits", "SlotEdit"),
    "Specimen": ("vesalius.models.specimen", "Specimen"),
    "answer_ids": ("vesalius.models.encoding", "answer_ids"),
    "check": ("vesalius.models.checking", "check"),
    "encode_prompts": ("vesalius.models.encoding", "encode_prompts"),
    "encode_texts": ("vesalius.models.texts", "encode_texts"),
    "open": ("vesalius.models.opening", "open"),
    "register_parts": ("vesalius.models.parts", "register_parts"),
    "slots_edited": ("vesalius.models.edits", "slots_edited"),
}

__getattr__ = lazy_names(__name__, _LAZY)
