"""Cut heads out of an attention module: rows of query, key and value, columns of the output.

Works in place, on real weights or on the meta device. A module that keeps no head keeps its first
group as a placeholder that writes nothing (its output columns are zero): every class can run that,
and the result is exact.

Source: ``prune_heads`` of transformers v4; this project (groups, placeholders, T5's bias).
"""

import inspect
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn

from vesalius.models.head_layout import HeadLayout
from vesalius.models.linear import LinearMap

_NUM_HEADS: Final[tuple[str, ...]] = ("num_attention_heads", "num_heads", "n_heads", "n_head")
_NUM_GROUPS: Final[tuple[str, ...]] = ("num_key_value_heads", "num_kv_heads")
_WIDTHS: Final = ("all_head_size", "inner_dim", "split_size", "embed_dim")  # heads times d_head


def keep_heads(layout: HeadLayout, heads: Sequence[int]) -> None:
    """Remove all heads of a module but the given ones, which are in order and whole groups.

    No heads at all leave the first group, with zeros where it is read.
    """
    kept = tuple(heads) or layout.groups[0]
    if not heads:
        silence_heads(layout, kept)
    for projection in layout.projections:
        _keep_outputs(projection.linear, layout.rows(projection, kept))
    _keep_inputs(layout.output, layout.columns(kept))
    _keep_numbers_of_heads(layout, kept)
    _tell(layout, num_heads=len(kept), num_groups=len(layout.groups_of(kept)))


def silence_heads(layout: HeadLayout, heads: Sequence[int]) -> None:
    """Set the columns of the output projection that read the given heads to zero, in place."""
    weight = layout.output.weight
    columns = torch.tensor(layout.columns(heads), dtype=torch.long, device=weight.device)
    with torch.no_grad():
        weight.data.index_fill_(layout.output.input_axis, columns, 0)


def _cut(tensor: Tensor, axis: int, places: Sequence[int]) -> nn.Parameter:
    index = torch.tensor(places, dtype=torch.long, device=tensor.device)
    cut = tensor.detach().index_select(axis, index)
    return nn.Parameter(cut, requires_grad=tensor.requires_grad)


def _keep_outputs(linear: LinearMap, rows: Sequence[int]) -> None:
    module: Any = linear.module
    module.weight = _cut(linear.weight, 1 - linear.input_axis, rows)
    if getattr(module, "bias", None) is not None:
        module.bias = _cut(module.bias, 0, rows)
    setattr(module, "out_features" if linear.input_axis else "nf", len(rows))


def _keep_inputs(linear: LinearMap, columns: Sequence[int]) -> None:
    module: Any = linear.module
    module.weight = _cut(linear.weight, linear.input_axis, columns)
    setattr(module, "in_features" if linear.input_axis else "nx", len(columns))


def _keep_numbers_of_heads(layout: HeadLayout, kept: Sequence[int]) -> None:
    """What a class keeps per head beside its linears: sinks, or a bias of relative positions."""
    module: Any = layout.module
    if isinstance(sinks := getattr(module, "sinks", None), nn.Parameter):
        module.sinks = _cut(sinks, 0, kept)
    hands_on = "position_bias" in inspect.signature(module.forward).parameters
    bias = getattr(module, "relative_attention_bias", None)
    if hasattr(module, "has_relative_attention_bias") and hands_on:
        _hand_on_bias(module, layout.num_heads, kept)
    elif isinstance(bias, nn.Embedding):  # UMT5: every layer has its own
        bias.weight = _cut(bias.weight, 1, kept)
        bias.embedding_dim = len(kept)


def _tell(layout: HeadLayout, *, num_heads: int, num_groups: int) -> None:
    """Correct the numbers that the module reads in its forward, wherever it keeps them."""
    module: Any = layout.module
    width = layout.num_heads * layout.d_head
    for name in _WIDTHS:
        if getattr(module, name, None) == width:
            setattr(module, name, num_heads * layout.d_head)
    numbers: dict[str, int] = {
        **dict.fromkeys(_NUM_HEADS, num_heads),
        **dict.fromkeys(_NUM_GROUPS, num_groups),
    }
    own = [name for name in numbers if isinstance(getattr(module, name, None), int)]
    for name in own:
        setattr(module, name, numbers[name])
    # Phi-3 asks its configuration during the forward, and others know their heads from there only
    if not set(own) & set(_NUM_HEADS) and getattr(module, "config", None) is not None:
        under = module.config.under if isinstance(module.config, _OwnConfig) else module.config
        known = {name: n for name, n in numbers.items() if hasattr(under, name)}
        module.config = _OwnConfig(under, known)


class _OwnConfig:
    """The model's configuration with this module's numbers of heads; all else is read through.

    A view and no copy: what others set on the model's configuration later (which attention
    function runs, above all) holds here too.
    """

    under: Any
    numbers: dict[str, int]

    def __init__(self, under: Any, numbers: dict[str, int]) -> None:
        vars(self).update(under=under, numbers=numbers)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and its kin look for their own hooks
            raise AttributeError(name)
        numbers = vars(self)["numbers"]
        return numbers[name] if name in numbers else getattr(vars(self)["under"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.under, name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_OwnConfig":
        return _OwnConfig(deepcopy(self.under, memo), dict(self.numbers))


class _OwnBias(nn.Module):
    """T5's attention with some heads gone: takes its own heads of the bias that layers hand on.

    The first layer of a stack makes the bias of all heads, and the others reuse it. Each pruned
    layer reads the rows of ``bias_heads`` and hands on the bias of all ``num_bias_heads``.
    """

    bias_heads: tuple[int, ...]
    num_bias_heads: int
    _made: Tensor | None = None

    def compute_bias(self, *args: Any, **kwargs: Any) -> Tensor:
        """Make the bias of all heads, keep it, give the rows read here: [1, head, query, key]."""
        base: Any = super()
        self._made = made = base.compute_bias(*args, **kwargs)
        return self._rows(made)

    def forward(self, *args: Any, position_bias: Tensor | None = None, **kwargs: Any) -> Any:
        """Attend with the bias [1, head, query, key] of the heads that are left."""
        own = None if position_bias is None else self._rows(position_bias)
        base: Any = super()
        output, used, weights = base.forward(*args, position_bias=own, **kwargs)
        whole = self._made if position_bias is None else position_bias
        self._made = None
        if whole is None:  # cross-attention makes zeros
            whole = used[:, :1].expand(-1, self.num_bias_heads, -1, -1)
        return output, whole, weights

    def _rows(self, bias: Tensor) -> Tensor:
        return bias[:, list(self.bias_heads)]


@cache
def _with_own_bias(base: type[nn.Module]) -> type[nn.Module]:
    # the name and module are those of the class: parts and the seam go by them
    return type(base.__name__, (_OwnBias, base), {"__module__": base.__module__})


def _hand_on_bias(module: Any, num_heads: int, kept: Sequence[int]) -> None:
    if isinstance(module, _OwnBias):
        module.bias_heads = tuple(module.bias_heads[head] for head in kept)
        return
    module.__class__ = _with_own_bias(type(module))
    module.bias_heads, module.num_bias_heads = tuple(kept), num_heads


def bias_heads(module: nn.Module) -> tuple[int, ...] | None:
    """Name the heads of a handed-on bias that a pruned module reads; None where it is no such."""
    return module.bias_heads if isinstance(module, _OwnBias) else None
