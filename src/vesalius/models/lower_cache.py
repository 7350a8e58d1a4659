"""Passes over the same inputs that skip the blocks below the lowest one whose weights change.

While only the weights of block k and above are moved, what enters block k is the same at every
point. The first pass of a key keeps it; later passes let the blocks below hand it on at once.

Source: this project; in docs/architecture.md block calls are recorded and passed over likewise.
"""

from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models.calls import map_tensors
from vesalius.models.ladder import run_model
from vesalius.models.specimen import Specimen
from vesalius.parallel.memory import DEFAULT_BYTES

_SAMPLED: Final = 64  # numbers of each entering tensor that are looked at again
_ASKED: Final = ("output_hidden_states", "output_attentions")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entered:
    """A few numbers of all that entered the first block, to tell other inputs from the same."""

    shapes: tuple[torch.Size, ...]
    sample: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """What one pass left behind: what entered the first block, and what blocks handed on."""

    entered: _Entered
    outputs: dict[int, Any] = field(default_factory=dict[int, Any])


@dataclass(slots=True, kw_only=True)
class _Store:
    """Records by key and number of the pass, within a budget of bytes."""

    budget: int
    held: int = 0
    skipped: int = 0
    records: dict[tuple[Hashable, int], _Record] = field(
        default_factory=dict[tuple[Hashable, int], _Record]
    )

    def keep(self, record: _Record, index: int, output: Any) -> None:
        """Keep what a block handed on, where it fits."""
        size = _num_bytes(output)
        if index in record.outputs or self.held + size > self.budget:
            return
        self.held += size
        record.outputs[index] = map_tensors(lambda _, tensor: tensor.detach(), output)


@final
class LowerCache:
    """Keeps what entered a block, so that later passes over the same inputs begin there.

    ``with LowerCache(specimen, from_layer=8) as cache:`` and, around each pass of the model,
    ``with cache.of(key):``, one key for each fixed input. The user promises that only weights of
    block ``from_layer`` and above differ from pass to pass; other inputs under a known key and
    moved lower weights are refused where a sample of their numbers shows them.

    ``active`` and ``reason`` say whether this model allows it: a probe compares logits first.
    What does not fit into ``memory_bytes``, a model in training mode, and a pass that asks for
    hidden states or attentions run whole, as if nothing were there.
    """

    def __init__(
        self, specimen: Specimen, *, from_layer: int, memory_bytes: int = DEFAULT_BYTES
    ) -> None:
        """Prepare to skip the blocks below ``from_layer``; nothing is touched before ``with``.

        Args:
            specimen: the opened model; its blocks are numbered as in its parts table.
            from_layer: the lowest block whose weights change, 0 to the number of blocks.
            memory_bytes: how much may be kept.

        Raises:
            VesaliusError: no such block.
        """
        self._specimen = specimen
        self._store = _Store(budget=memory_bytes)
        self._reasons: dict[int, str] = {}
        self._weights: dict[int, Tensor] = {}
        self._open = self._busy = False
        self.from_layer = self._known(from_layer)

    @property
    def reason(self) -> str:
        """Why the blocks below ``from_layer`` are not skipped; empty where they are."""
        return self._reasons.get(self.from_layer, "not entered yet")

    @property
    def active(self) -> bool:
        """Whether the blocks below ``from_layer``, if any, are skipped."""
        return not self.reason

    @property
    def held_bytes(self) -> int:
        """Bytes of kept tensors, of any shape."""
        return self._store.held

    @property
    def num_skipped(self) -> int:
        """How many block calls have been skipped so far."""
        return self._store.skipped

    def __enter__(self) -> "LowerCache":
        self._open = True
        self._check(self.from_layer)
        return self

    def __exit__(self, *_error: object) -> None:
        self._open = False
        self._store = _Store(budget=self._store.budget, skipped=self._store.skipped)
        self._weights.clear()

    @contextmanager
    def of(self, key: Hashable, *, from_layer: int | None = None) -> Generator[None, None, None]:
        """Keep or use what belongs to a key while the model runs inside the ``with`` block.

        Args:
            key: names the inputs; several passes under one key are told apart by their order.
            from_layer: another lowest block than that of the cache. A pass begins at the highest
                kept block up to it, and keeps what entered this one: a sweep over single blocks,
                from the input upwards, then never runs a block below the one before.

        Raises:
            VesaliusError: no such block, a cache that is not open or in use, other inputs than
                before under this key, or weights below that have changed.

        Source: this project. Shapes do not change hands.
        """
        layer = self.from_layer if from_layer is None else self._known(from_layer)
        if not self._open or self._busy:
            raise VesaliusError(
                given="a key of a LowerCache that is " + ("in use" if self._busy else "not open"),
                expected="one pass at a time, inside `with LowerCache(...) as cache:`",
                fix="run the passes one after the other",
            )
        if layer == 0 or self._specimen.model.training or self._check(layer):
            yield  # as if nothing were here
            return
        self._check_weights(layer)
        run = _Run(self._store, key, stacks=self._stacks, layer=layer)
        self._busy = True
        try:
            with self._watched(run, self._blocks[:layer]):
                yield
        finally:
            self._busy = False

    @cached_property
    def _blocks(self) -> tuple[nn.Module, ...]:
        return tuple(part.module for part in self._specimen.parts.blocks)

    @cached_property
    def _stacks(self) -> tuple[str, ...]:
        return tuple(part.stack for part in self._specimen.parts.blocks)

    @cached_property
    def _around(self) -> tuple[nn.Module, ...]:
        """The modules that hold blocks and call them, from the model down."""
        modules = dict(self._specimen.model.named_modules())
        names: dict[str, None] = {"": None}
        for part in self._specimen.parts.blocks:
            steps = part.name.split(".")
            names |= {".".join(steps[:end]): None for end in range(1, len(steps))}
        return tuple(modules[name] for name in names if name in modules)

    def _known(self, layer: int) -> int:
        # from block 0 nothing is skipped: any module will do, also one without blocks
        if layer != 0 and not 0 <= layer <= len(self._blocks):
            raise VesaliusError(
                given=f"from_layer={layer}",
                expected=f"a block of {self._specimen.name}, 0 to {len(self._blocks)}",
                fix="take the lowest block whose weights change",
            )
        return layer

    @contextmanager
    def _watched(self, run: "_Run", blocks: Sequence[nn.Module]) -> Generator[None, None, None]:
        """Let blocks run through a run, and tell it when all hidden states are asked for."""
        config: Any = getattr(self._specimen.model, "config", None)
        run.asked = any(getattr(config, name, None) is True for name in _ASKED)
        depth = 0

        def enter(_module: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
            nonlocal depth
            if depth == 0:  # what the user asks for: DeBERTa's own encoder is always asked
                run.asked |= any(kwargs.get(name) for name in _ASKED)
            depth += 1

        def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
            nonlocal depth
            depth -= 1

        with ExitStack() as stack:
            for module in self._around:
                hook = module.register_forward_pre_hook(enter, with_kwargs=True)
                stack.callback(hook.remove)
                hook = module.register_forward_hook(leave, always_call=True)
                stack.callback(hook.remove)
            for index, block in enumerate(blocks):
                # accelerate keeps a forward of its own on the instance: it comes back as it was
                before = block.__dict__.get("forward")
                stack.callback(_put_back, block, before)
                block.forward = run.forward(index, block.forward)
            yield

    def _check(self, layer: int) -> str:
        """Why the blocks below a layer cannot be skipped, found by a probe; empty where they can.

        Unchanged weights must give equal logits: a model that also reads a skipped block's own
        output, or changes it in place, shows here.
        """
        if layer not in self._reasons:
            self._reasons[layer] = "" if layer == 0 else self._probed(layer)
        return self._reasons[layer]

    def _probed(self, layer: int) -> str:
        model, batch = self._specimen.model, self._specimen.probe()
        store = _Store(budget=1 << 62)
        calls: list[int] = []
        with self._specimen.at_rest(), torch.no_grad():
            plain = run_model(model, batch).logits
            for skips in (False, True):
                run = _Run(store, "probe", stacks=self._stacks, layer=layer, calls=calls)
                with self._watched(run, self._blocks):
                    if run.asked:
                        return "its configuration asks for all hidden states or attentions"
                    try:
                        found = run_model(model, batch).logits
                    except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as error:
                        return f"it fails when blocks are skipped: {type(error).__name__}"
                if calls != list(range(len(self._blocks))):
                    return "its blocks do not run once each, in the order of the parts table"
                if skips and store.skipped != layer:
                    return "what enters its first block differs from pass to pass"
                if not _same(found, plain):
                    return f"skipping the blocks below {layer} changes its logits"
                calls.clear()
        return ""

    def _check_weights(self, layer: int) -> None:
        """Compare one number of every parameter below with what it was."""
        for index, block in enumerate(self._blocks[:layer]):
            numbers = [p.detach().reshape(-1)[p.numel() // 2] for p in block.parameters()]
            sample = torch.stack([number.to(numbers[0]) for number in numbers])
            if not torch.equal(self._weights.setdefault(index, sample), sample):
                raise VesaliusError(
                    given=f"changed weights of block {index}, kept from block {layer}",
                    expected="weights that change in block from_layer and above only",
                    fix="take the lowest block that changes, or open a new LowerCache",
                )


@final
class _Run:
    """The passes of one key: where each begins, what it skips and what it keeps."""

    def __init__(
        self,
        store: _Store,
        key: Hashable,
        *,
        stacks: Sequence[str],
        layer: int,
        calls: list[int] | None = None,
    ) -> None:
        self.store, self.key, self.stacks, self.calls = store, key, stacks, calls
        self.wanted = _tops(stacks, layer)
        self.layer, self.number, self.start = layer, -1, 0
        self.asked = False
        self.record: _Record | None = None

    def forward(self, index: int, own: Callable[..., Any]) -> Callable[..., Any]:
        """A block's forward that is passed over where what it leads to is known."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            if self.calls is not None:
                self.calls.append(index)
            if index == 0:
                self.begin((args, kwargs))
            if index < self.start and self.record is not None:
                self.store.skipped += 1
                return self.record.outputs[_tops(self.stacks, self.start)[self.stacks[index]]]
            output = own(*args, **kwargs)
            if self.record is not None and index in self.wanted.values():
                self.store.keep(self.record, index, output)
            return output

        return forward

    def begin(self, given: Any) -> None:
        """Find the record of a pass that begins, and the highest block it may begin at."""
        self.number += 1
        entered = _entered(given)
        place = (self.key, self.number)
        self.record = self.store.records.setdefault(place, _Record(entered=entered))
        if not _alike(self.record.entered, entered):
            raise VesaliusError(
                given=f"key {self.key!r} with other inputs, or other embeddings, than before",
                expected="one key for each input, and weights below from_layer that stay",
                fix="give every batch a key of its own",
            )
        outputs = self.record.outputs
        ready = (k for k in range(self.layer, 0, -1) if _has(outputs, _tops(self.stacks, k)))
        self.start = 0 if self.asked else next(ready, 0)


def _tops(stacks: Sequence[str], layer: int) -> dict[str, int]:
    """The highest block of each stack below a layer."""
    return {stack: index for index, stack in enumerate(stacks[:layer])}


def _has(outputs: dict[int, Any], tops: dict[str, int]) -> bool:
    return all(index in outputs for index in tops.values())


def _put_back(block: nn.Module, before: Any) -> None:
    block.__dict__.pop("forward", None)
    if before is not None:
        block.forward = before


def _entered(given: Any) -> _Entered:
    shapes: list[torch.Size] = []
    samples: list[Tensor] = []

    def look(_path: str, tensor: Tensor) -> Tensor:
        shapes.append(tensor.shape)
        size = tensor.numel()
        places = torch.arange(min(size, _SAMPLED), device=tensor.device)
        places = places * (size - 1) // max(1, min(size, _SAMPLED) - 1)
        samples.append(tensor.detach().take(places).double())
        return tensor

    map_tensors(look, given)
    return _Entered(shapes=tuple(shapes), sample=torch.cat([s.to(samples[0]) for s in samples]))


def _alike(one: _Entered, other: _Entered) -> bool:
    return one.shapes == other.shapes and torch.allclose(
        one.sample, other.sample, rtol=1e-5, atol=1e-7, equal_nan=True
    )


def _num_bytes(output: Any) -> int:
    sizes: list[int] = []
    map_tensors(lambda _, t: sizes.append(t.numel() * t.element_size()), output)
    return sum(sizes)


def _same(found: Tensor, plain: Tensor) -> bool:
    """Equal up to rounding in the last places; padded rows may be no numbers, the same in both."""
    if found.shape != plain.shape:
        return False
    scale = float(plain.nan_to_num().abs().max())
    return torch.allclose(found, plain, rtol=0, atol=1e-6 * scale, equal_nan=True)
