"""The probe that tells which way of reading a shared prefix a model takes exactly.

Source: observed, then confirmed: docs/decisions.md.
"""

from typing import Any, Final

import torch
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.label_scores import with_tree
from vesalius.models.label_trie import grow_trie
from vesalius.models.prefix import WAYS, OwnTokens, Way, encode_prefix, read_behind
from vesalius.models.specimen import Specimen

_NUM_PREFIX: Final = 11
_LENGTHS: Final = (4, 7, 5)  # of the texts behind the prefix
# Of the spread of the logits: rounding stays well below, a wrong mask or position well above. Some
# classes take their softmax in single precision whatever the weights are.
_TOLERANCE: Final = {torch.float64: 1e-6, torch.float32: 1e-4}
_LOOSE: Final = 0.05  # in half precision


def probe_way(specimen: Specimen) -> Way:
    """Try the ways on a few random tokens, fastest first, and take the first that is exact.

    No shapes change hands.

    Source: this module.
    """
    num_vocab = int(getattr(specimen.model.config, "vocab_size", 0) or 32)
    generator = torch.Generator().manual_seed(0)
    low = min(5, num_vocab - 1)
    drawn = torch.randint(low, num_vocab, (_NUM_PREFIX + sum(_LENGTHS),), generator=generator)
    prefix, texts = drawn[:_NUM_PREFIX].tolist(), list(drawn[_NUM_PREFIX:].split(_LENGTHS))
    wanted = [
        read_behind(specimen, encode_prefix(specimen, prefix, way="whole"),
                    _own_tokens([t], specimen))[0, 0]
        for t in texts
    ]  # fmt: skip
    for way in WAYS[:-1]:
        found = _tried(specimen, prefix, texts, way)
        if found is not None and _agree(found, torch.stack(wanted)):
            return way
    return "whole"


def _own_tokens(texts: list[Tensor], specimen: Specimen) -> OwnTokens:
    """Pad texts, [position] each, to be read at their last tokens: a tree without nodes."""
    return with_tree([t.tolist() for t in texts], grow_trie([[0]]), device=specimen.device)


def _tried(specimen: Specimen, prefix: list[int], texts: list[Tensor], way: Way) -> Tensor | None:
    """Read all texts at once; None where the model cannot, whatever it raises."""
    try:
        encoded = encode_prefix(specimen, prefix, way=way)
        return read_behind(specimen, encoded, _own_tokens(texts, specimen))[:, 0]
    except (VesaliusError, AttributeError, IndexError, KeyError, NotImplementedError,
            RuntimeError, TypeError, ValueError, AssertionError):  # fmt: skip
        return None


def _agree(found: Any, wanted: Tensor) -> bool:
    if found.shape != wanted.shape or not bool(torch.isfinite(found).all()):
        return False
    spread = float((wanted - wanted.mean(-1, keepdim=True)).abs().max())
    limit = _TOLERANCE.get(wanted.dtype, _LOOSE)
    return float((found - wanted).abs().max()) <= limit * max(spread, 1e-30)
