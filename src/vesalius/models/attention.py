"""The attention seam: read or replace what an attention module returns, on any registered class.

One function is registered with ``AttentionInterface`` *and* one mask builder of the same name with
``AttentionMaskInterface``. Without the second the library passes no mask at all, silently.
Modules without a tap run the implementation that the model was loaded with.
"""

import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vesalius.core.errors import VesaliusError
from vesalius.models.calls import take_rows

SEAM = "vesalius"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCall:
    """What an attention module hands to its kernel.

    ``query`` [batch, head, query, d_head]; ``key`` and ``value`` [batch, kv_head, key, d_head];
    ``mask`` additive, broadcastable to [batch, head, query, key], or None; ``options`` are the
    module's own (scaling, soft cap, sinks, position bias).
    """

    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    options: dict[str, Any]

    def weights(self) -> Float[Tensor, "batch head query key"]:
        """Compute the attention probabilities with the module's own eager function.

        Source: seam 2 of docs/architecture.md.
        """
        return self._run(_eager(self.module))[1]

    def output(self) -> Float[Tensor, "batch query head d_head"]:
        """Run the kernel that the model was loaded with.

        Source: seam 2 of docs/architecture.md.
        """
        return self._run(_kernel(self.module))[0]

    def values(self) -> Float[Tensor, "batch head key d_head"]:
        """Repeat the value states so that every head has its own (grouped-query attention).

        Source: ``repeat_kv`` of the transformers library.
        """
        repeats = self.query.shape[1] // self.value.shape[1]
        return self.value.repeat_interleave(repeats, dim=1) if repeats > 1 else self.value

    def attend(
        self, weights: Float[Tensor, "batch head query key"]
    ) -> Float[Tensor, "batch query head d_head"]:
        """Compute A V for other attention probabilities, in the layout that a tap returns.

        Source: seam 2 of docs/architecture.md.
        """
        return torch.einsum("bhqk,bhkd->bqhd", weights, self.values()).contiguous()

    def at_rows(self, rows: Tensor) -> "AttentionCall":
        """Keep one query row per batch entry; keys and values stay whole.

        Args:
            rows: integer tensor, shape [batch].

        Source: the target-row shortcut of docs/architecture.md.
        """
        options = dict(self.options)
        if isinstance(options.get("position_bias"), Tensor):
            options["position_bias"] = _row_of(options["position_bias"], rows)
        return replace(
            self,
            query=_row_of(self.query, rows),
            mask=None if self.mask is None else _row_of(self.mask, rows),
            options=options,
        )

    def _run(self, kernel: Callable[..., tuple[Tensor, Any]]) -> tuple[Tensor, Any]:
        return kernel(self.module, self.query, self.key, self.value, self.mask, **self.options)


Tap = Callable[[AttentionCall], Tensor]
_TAPS: "WeakKeyDictionary[nn.Module, Tap]" = WeakKeyDictionary()
_LOADED_WITH: "WeakKeyDictionary[nn.Module, str]" = WeakKeyDictionary()


def _row_of(states: Tensor, rows: Tensor) -> Tensor:
    """One query row of a 4-D tensor whose third axis is query; size-1 axes broadcast."""
    if states.shape[2] == 1:
        return states
    return take_rows(states.expand(len(rows), *states.shape[1:]), rows, axis=2)


def _eager(module: nn.Module) -> Callable[..., tuple[Tensor, Any]]:
    for ancestor in type(module).__mro__:
        function = getattr(sys.modules.get(ancestor.__module__), "eager_attention_forward", None)
        if function is not None:
            return function
    raise VesaliusError(
        given=f"{type(module).__name__} without an eager attention function beside it",
        expected="an attention class that the AttentionInterface of transformers serves",
        fix="run `vesalius check MODEL` to see which parts of this model are supported",
    )


def _kernel(module: nn.Module) -> Callable[..., tuple[Tensor, Any]]:
    name = _LOADED_WITH.get(module, "eager")
    return _eager(module) if name == "eager" else ALL_ATTENTION_FUNCTIONS[name]


def _seam_forward(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    call = AttentionCall(
        module=module, query=query, key=key, value=value, mask=attention_mask, options=options
    )
    tap = _TAPS.get(module)
    return (call.output() if tap is None else tap(call)), None


def _seam_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """The eager mask, with minus infinity kept away from classes whose softmax is single precision.

    A row that sees nothing (left padding) would be all -inf there, and NaN ever after.
    """
    mask = ALL_MASK_ATTENTION_FUNCTIONS["eager"](*args, **kwargs)
    if mask is None or mask.dtype != torch.float64:
        return mask
    return mask.clamp_min(torch.finfo(torch.float32).min)


AttentionInterface.register(SEAM, _seam_forward)
AttentionMaskInterface.register(SEAM, _seam_mask)


@contextmanager
def attention_seam(
    model: nn.Module, *, modules: Iterable[nn.Module]
) -> Generator[None, None, None]:
    """Route the given attention modules of a model through the seam; undone on exit.

    Kernels without a CPU backward or without float masks (flash, flex) run as eager meanwhile.

    Raises:
        VesaliusError: the model is not one of the transformers library.

    Source: seam 2 of docs/architecture.md.
    """
    owners = [m for m in model.modules() if isinstance(m, PreTrainedModel)]
    if not owners:
        raise VesaliusError(
            given=f"{type(model).__name__}",
            expected="a PreTrainedModel of the transformers library",
            fix="open the model with vesalius.open",
        )
    configs: list[Any] = [m.config for m in owners]
    before = [(config, config._attn_implementation) for config in configs]
    loaded = str(before[0][1] or "eager")
    if loaded != SEAM:  # a seam inside a seam keeps what the outer one found
        for module in modules:
            _LOADED_WITH[module] = "sdpa" if loaded == "sdpa" else "eager"
    for config, _ in before:
        config._attn_implementation_internal = SEAM
    try:
        yield
    finally:
        for config, name in before:
            config._attn_implementation_internal = name


@contextmanager
def tapped(taps: dict[nn.Module, Tap]) -> Generator[None, None, None]:
    """Put a tap on attention modules, inside :func:`attention_seam`; removed on exit.

    Source: seam 2 of docs/architecture.md.
    """
    _TAPS.update(taps)
    try:
        yield
    finally:
        for module in taps:
            _TAPS.pop(module, None)
