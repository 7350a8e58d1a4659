"""A prefix that many texts share: encoded once, read by every text, never copied.

Three ways, the first that a probe of the very model confirms is taken: ``shared`` (attention over
prefix and text is computed apart and merged, at the attention seam), ``joined`` (keys and values
are put together layer by layer, for models outside the seam), ``whole`` (no cache: every text runs
with its prefix).

Source: prefix sharing as in Hydragen, arXiv 2402.05099; the seam of docs/architecture.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin

from vesalius.core.errors import VesaliusError
from vesalius.models.attention import AttentionCall, attention_seam, tapped
from vesalius.models.head_rows import head_rows, logits_at
from vesalius.models.ladder import accepts
from vesalius.models.prefix_attention import PrefixReader
from vesalius.models.specimen import Specimen

Way = Literal["shared", "joined", "whole"]
WAYS: Final[tuple[Way, ...]] = ("shared", "joined", "whole")
_WAY_OF: "WeakKeyDictionary[nn.Module, Way]" = WeakKeyDictionary()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """Tokens that come before every text, with their keys and values where a way keeps them.

    ``keys`` and ``values`` hold one tensor per layer, [1, kv_head, position, d_head].
    """

    ids: tuple[int, ...]
    way: Way
    keys: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()

    @property
    def num_tokens(self) -> int:
        """How many tokens it has."""
        return len(self.ids)

    @property
    def num_bytes(self) -> int:
        """What its keys and values take."""
        return sum(t.numel() * t.element_size() for t in (*self.keys, *self.values))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTokens:
    """What stands behind a prefix, padded on the right.

    ``ids`` and ``positions`` [batch, own], positions counted from the end of the prefix; ``places``
    [batch, place] are the rows whose logits are wanted; ``allowed`` [batch, own, own] says which
    own token sees which, None where that is causal order. ``lengths`` [batch] counts the tokens
    that are no padding.
    """

    ids: Int[Tensor, "batch own"]
    positions: Int[Tensor, "batch own"]
    places: Int[Tensor, "batch place"]
    lengths: Int[Tensor, " batch"]
    allowed: Bool[Tensor, "batch own own"] | None = None


class _PrefixLayer(CacheLayerMixin):
    """One layer of a prefix: gives the new keys alone, or joined with the prefix's; keeps none."""

    is_sliding = False
    is_croppable = False

    def __init__(self, keys: Tensor, values: Tensor, *, joined: bool) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self.joined = joined
        self.num_updates = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing: the prefix is there (states of any shape)."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Give what the attention of this layer reads, [batch, kv_head, key, d_head] each."""
        self.num_updates += 1
        if not self.joined:
            return key_states, value_states
        assert self.keys is not None
        assert self.values is not None
        batch = len(key_states)
        return (
            torch.cat((self.keys.expand(batch, -1, -1, -1), key_states), dim=2),
            torch.cat((self.values.expand(batch, -1, -1, -1), value_states), dim=2),
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Give the number of keys a mask is for, and where they begin."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Count the prefix's tokens."""
        assert self.keys is not None
        return self.keys.shape[2]

    def get_max_length(self) -> int:
        """Say that nothing limits the length."""
        return -1


def encode_prefix(specimen: Specimen, ids: Sequence[int], *, way: Way | None = None) -> Prefix:
    """Run the tokens that all texts share once and keep their keys and values.

    Args:
        specimen: the opened causal language model.
        ids: token ids; none is allowed.
        way: how texts will read it; chosen by the probe when left out.

    Raises:
        VesaliusError: a model that keeps no ordinary cache, asked for one by name.

    Source: this module. No shapes.
    """
    way = way or prefix_way(specimen)
    if way == "whole" or not ids:
        return Prefix(ids=tuple(ids), way=way)
    tokens = torch.tensor([list(ids)], device=specimen.device)
    cache = DynamicCache()
    last = torch.full((1, 1), len(ids) - 1)
    with specimen.at_rest(), torch.no_grad(), head_rows(specimen.model, last):
        specimen.model(input_ids=tokens, past_key_values=cache, use_cache=True)
    layers: list[Any] = list(cache.layers)
    for layer in layers:
        if not isinstance(layer.keys, Tensor) or layer.keys.shape[2] != len(ids):
            raise VesaliusError(
                given=f"{specimen.name}: a cache layer of class {type(layer).__name__}",
                expected="keys and values of every token",
                fix="leave way out: texts then run with their prefix",
            )
    return Prefix(
        ids=tuple(ids),
        way=way,
        keys=tuple(layer.keys.contiguous() for layer in layers),
        values=tuple(layer.values.contiguous() for layer in layers),
    )


def read_behind(
    specimen: Specimen, prefix: Prefix, own: OwnTokens
) -> Float[Tensor, "batch place vocab"]:
    """Run texts behind a prefix and give the logits at their places.

    Args:
        specimen: the opened causal language model.
        prefix: what :func:`encode_prefix` gave for it.
        own: the texts.

    Returns:
        Shape [batch, place, vocab], in the dtype of the model.

    Raises:
        VesaliusError: a model that did not do what its way says.

    Source: this module.
    """
    with specimen.at_rest(), torch.no_grad():
        if prefix.way == "whole":
            return _run_whole(specimen.model, prefix, own)
        if prefix.way == "joined":
            return _run_joined(specimen.model, prefix, own)
        return _run_shared(specimen.model, prefix, own)


def _inputs(model: nn.Module, prefix: Prefix, own: OwnTokens) -> dict[str, Any]:
    batch, length = own.ids.shape
    inputs: dict[str, Any] = {
        "input_ids": own.ids,
        # ones for padding too: it stands behind every token that is read
        "attention_mask": own.ids.new_ones(batch, prefix.num_tokens + length),
    }
    if accepts(model, "position_ids"):
        inputs["position_ids"] = own.positions + prefix.num_tokens
    return inputs


def _run_whole(model: nn.Module, prefix: Prefix, own: OwnTokens) -> Tensor:
    assert own.allowed is None, "a tree of label words needs the shared way"
    batch, shift = len(own.ids), prefix.num_tokens
    before = own.ids.new_tensor(prefix.ids).expand(batch, -1)
    ids = torch.cat((before, own.ids), dim=1)
    reach = (own.lengths + shift).to(ids.device).unsqueeze(1)
    inputs: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": (torch.arange(ids.shape[1], device=ids.device) < reach).long(),
    }
    if accepts(model, "position_ids"):
        inputs["position_ids"] = torch.arange(ids.shape[1], device=ids.device).expand(batch, -1)
    extra = {"use_cache": False} if accepts(model, "use_cache") else {}
    return _logits(model, own.places + shift, **inputs, **extra)


def _run_joined(model: nn.Module, prefix: Prefix, own: OwnTokens) -> Tensor:
    assert own.allowed is None, "a tree of label words needs the shared way"
    layers = _layers(prefix, joined=True)
    cached = _cached(layers)
    logits = _logits(model, own.places, **_inputs(model, prefix, own), **cached)
    _check(layers, len(layers))
    return logits


def _run_shared(model: nn.Module, prefix: Prefix, own: OwnTokens) -> Tensor:
    reader = PrefixReader(num_prefix=prefix.num_tokens, allowed=own.allowed)
    layers = _layers(prefix, joined=False)
    fired: list[nn.Module] = []

    def tap(call: AttentionCall) -> Tensor:
        fired.append(call.module)
        if not layers:
            return reader.attend_alone(call)
        number: Any = call.module.layer_idx  # by which the module asked the cache
        return reader.attend(call, prefix.keys[number], prefix.values[number])

    modules = [m for m in model.modules() if isinstance(getattr(m, "layer_idx", None), int)]
    cached = _cached(layers)
    with attention_seam(model, modules=modules), tapped(dict.fromkeys(modules, tap)):
        logits = _logits(model, own.places, **_inputs(model, prefix, own), **cached)
    _check(layers, len(fired))
    return logits


def _cached(layers: list[_PrefixLayer]) -> dict[str, Any]:
    held: Any = layers
    return {"past_key_values": Cache(layers=held), "use_cache": True} if layers else {}


def _layers(prefix: Prefix, *, joined: bool) -> list[_PrefixLayer]:
    pairs = zip(prefix.keys, prefix.values, strict=True)
    return [_PrefixLayer(keys, values, joined=joined) for keys, values in pairs]


def _logits(model: nn.Module, places: Tensor, **inputs: Any) -> Tensor:
    """Run a model and give its logits at ``places``, [batch, place, vocab]."""
    return logits_at(model, places, lambda: model(**inputs))


def _check(layers: Sequence[_PrefixLayer], num_fired: int) -> None:
    """Insist that every layer was asked once, and that as many attention calls came through."""
    if any(layer.num_updates != 1 for layer in layers) or (layers and num_fired != len(layers)):
        raise VesaliusError(
            given=f"{num_fired} attention calls and cache layers asked "
            f"{[layer.num_updates for layer in layers]} times",
            expected="every layer of the prefix to be read once",
            fix="leave way out: texts then run with their prefix",
        )


def prefix_way(specimen: Specimen) -> Way:
    """Tell how texts can read a prefix in this model: probed once, against plain runs.

    No shapes change hands.

    Source: observed, then confirmed: docs/decisions.md.
    """
    known = _WAY_OF.get(specimen.model)
    if known is None:
        from vesalius.models.prefix_probe import probe_way

        _WAY_OF[specimen.model] = known = probe_way(specimen)
    return known
