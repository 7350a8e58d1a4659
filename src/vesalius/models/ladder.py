"""One clean pass of a model, recorded, and the ways to climb it again with other streams."""

import inspect
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models.attention import AttentionCall, tapped
from vesalius.models.batch import Batch
from vesalius.models.calls import BlockCall, FirstAxis, of_streams, take_rows, with_hidden
from vesalius.models.parts import Parts

Logits = Float[Tensor, "stream vocab"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Altered copies of prompts on their way up.

    ``hidden`` [stream, position, d_model], or [stream, 1, d_model] for the row of interest alone;
    ``prompt`` [stream] says whose copy each is; ``memory`` is the encoder output they read.
    """

    hidden: Tensor
    prompt: Tensor
    memory: Tensor | None = None

    def join(self, other: "Streams") -> "Streams":
        """Append other streams of the same length, shapes [stream, position, d_model].

        Source: the staircase of docs/architecture.md.
        """
        memory = None
        if self.memory is not None and other.memory is not None:
            memory = torch.cat((self.memory, other.memory))
        return Streams(
            hidden=torch.cat((self.hidden, other.hidden)),
            prompt=torch.cat((self.prompt, other.prompt)),
            memory=memory,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The recorded block calls of a clean pass over a batch.

    ``seam_calls`` holds, by call index and in the order of the block's attention modules, what
    each handed to its kernel (registered classes only). ``bridge`` maps the top of an encoder to
    what the decoder reads. ``slices_tail`` says that the model's head accepts one row.
    """

    model: nn.Module
    batch: Batch
    calls: tuple[BlockCall, ...]
    seam_calls: dict[int, tuple[AttentionCall, ...]]
    logits: Logits
    bridge: nn.Module | None
    slices_tail: bool = True

    def rows(self, index: int) -> Int[Tensor, " batch"]:
        """The row of interest of every prompt in the stack of a call."""
        return self.batch.rows_of(self.calls[index].part.stack)

    def enter(self, index: int, streams: Streams) -> Streams:
        """Bring streams to the foot of a block: at the first decoder block, over the bridge.

        Source: encoder-decoder staircase, docs/architecture.md.
        """
        call = self.calls[index]
        if call.memory is None or streams.memory is not None:
            return streams
        memory = streams.hidden if self.bridge is None else self.bridge(streams.hidden)
        hidden = of_streams(call.hidden, streams.prompt)
        return replace(streams, hidden=hidden, memory=memory)

    def climb(self, index: int, streams: Streams) -> Streams:
        """Run one block on every row of the streams.

        Source: the staircase of docs/architecture.md.
        """
        hidden = self.calls[index].repeat(streams.hidden, streams.prompt, memory=streams.memory)
        return replace(streams, hidden=hidden)

    def climb_to_row(self, index: int, streams: Streams) -> Streams:
        """Run one block, computing only the row of interest of its output.

        Keys and values come from every row; the query, the output projection and the
        feed-forward run on one. Needs a block with one attention module of a registered class.

        Source: the target-row shortcut of docs/architecture.md.
        """
        call, module = self.calls[index], self.calls[index].part.attentions[0].module
        rows = self.rows(index)
        own_rows = of_streams(rows, streams.prompt)
        seam = _intercept(module, lambda: call.repeat(streams.hidden, streams.prompt))
        read = seam.at_rows(own_rows).output()
        hidden = take_rows(streams.hidden, own_rows)
        with tapped({module: lambda _: read}):
            hidden = call.repeat(hidden, streams.prompt, rows=rows)
        return replace(streams, hidden=hidden)

    def climb_last_row(self, index: int, streams: Streams) -> Streams:
        """Run one causal block on streams that hold only the last row.

        Earlier rows cannot have changed: their keys and values are those of the clean pass.

        Source: the key/value replay of docs/architecture.md.
        """
        call, module = self.calls[index], self.calls[index].part.attentions[0].module
        clean = self.seam_calls[index][0].at_rows(self.rows(index))

        def pick(states: Tensor) -> Tensor:
            if states.shape[0] == 1:
                return states.expand(len(streams.prompt), *states.shape[1:])
            return of_streams(states, streams.prompt)

        def read(own: AttentionCall) -> Tensor:
            key = torch.cat((pick(clean.key[:, :, :-1]), own.key), dim=2)
            value = torch.cat((pick(clean.value[:, :, :-1]), own.value), dim=2)
            mask = None if clean.mask is None else pick(clean.mask)
            return replace(own, key=key, value=value, mask=mask).output()

        with tapped({module: read}):
            hidden = call.repeat(streams.hidden, streams.prompt, rows=self.rows(index))
        return replace(streams, hidden=hidden)

    def finish(self, streams: Streams) -> Logits:
        """Take streams from the top block through the rest of the model to the logits row.

        The model's own forward runs with its blocks passed over, so that final norms, poolers
        and heads need not be known.

        Returns:
            Shape [stream, vocab].

        Source: point 8 of the engine notes, docs/architecture.md.
        """
        top = len(self.calls) - 1
        batch = self.batch.select(streams.prompt)
        hidden = streams.hidden
        one_row = hidden.shape[1] == 1
        if not one_row and self.slices_tail:
            hidden = take_rows(hidden, of_streams(self.rows(top), streams.prompt))
            one_row = True
        if one_row:
            batch = batch.one_position()
        with _passed_over(self.calls, hidden):
            output = run_model(self.model, batch)
        return logits_row(output.logits, batch)


def run_model(model: nn.Module, batch: Batch) -> Any:
    """Call a model on a batch without a key/value cache.

    Returns:
        The model's output object; its logits are [batch, position, vocab] or [batch, label].

    Source: the forward signatures of the transformers library.
    """
    extra = {"use_cache": False} if accepts(model, "use_cache") else {}
    return model(**batch.inputs, **extra)


def accepts(model: nn.Module, name: str) -> bool:
    """Tell whether the model's forward names a parameter (PEFT wrappers are looked through).

    Shapes do not matter here.

    Source: ``inspect.signature``.
    """
    wrapped: Any = model
    base = wrapped.get_base_model() if hasattr(model, "get_base_model") else wrapped
    return name in inspect.signature(base.forward).parameters


def logits_row(logits: Tensor, batch: Batch) -> Logits:
    """Pick the logits row of every prompt: [batch, position, vocab] or [batch, label] in.

    Returns:
        Shape [batch, vocab].

    Source: point 8 of the engine notes, docs/architecture.md.
    """
    if logits.dim() == 2:
        return logits
    return take_rows(logits, batch.logits_row)[:, 0]


class _Intercepted(Exception):
    def __init__(self, call: AttentionCall) -> None:
        self.call = call


def _intercept(module: nn.Module, run: Callable[[], Any]) -> AttentionCall:
    """Run a block up to the kernel of an attention module and return what would go in."""

    def stop(call: AttentionCall) -> Tensor:
        raise _Intercepted(call)

    try:
        with tapped({module: stop}):
            run()
    except _Intercepted as signal:
        return signal.call
    raise VesaliusError(
        given=f"attention of class {type(module).__name__} that never reached the registry",
        expected="a call of the registered attention function",
        fix="run `vesalius check MODEL` to see which parts of this model are supported",
    )


@contextmanager
def _passed_over(calls: tuple[BlockCall, ...], top: Tensor) -> Generator[None, None, None]:
    """Let every block return what it is given, and the last call return ``top``."""
    turn = iter(range(len(calls)))

    def pass_over(*args: Any, **kwargs: Any) -> Any:
        index = next(turn)
        hidden = args[0] if args else kwargs["hidden_states"]
        return with_hidden(calls[index].output, top if index == len(calls) - 1 else hidden)

    modules = {call.part.module for call in calls}
    # accelerate keeps a forward of its own on the instance: it comes back as it was
    own = {module: module.__dict__.get("forward") for module in modules}
    for module in modules:
        module.forward = pass_over
    try:
        yield
    finally:
        for module, forward in own.items():
            del module.forward
            if forward is not None:
                module.forward = forward


def record(
    model: nn.Module,
    parts: Parts,
    batch: Batch,
    *,
    seam: bool,
    first_axes: dict[int, dict[str, FirstAxis]] | None = None,
    slices_tail: bool = True,
) -> Ladder:
    """Run a clean pass without gradients and record every block call.

    ``seam`` also records what the attention modules hand to their kernels; it needs
    :func:`vesalius.models.attention.attention_seam` around it.

    Raises:
        VesaliusError: a block that did not run, or an encoder output no bridge explains.

    Source: the staircase of docs/architecture.md.
    """
    recorder = _Recorder(parts)
    with torch.no_grad(), recorder.hooked(model, seam=seam):
        output = run_model(model, batch)
    recorder.check()
    calls, bridge = recorder.with_memory()
    return Ladder(
        model=model,
        batch=batch,
        calls=tuple(replace(c, first_axes=(first_axes or {}).get(c.index)) for c in calls),
        seam_calls={i: tuple(seam_calls) for i, seam_calls in recorder.seam_calls.items()},
        logits=logits_row(output.logits, batch),
        bridge=bridge,
        slices_tail=slices_tail,
    )


class _Recorder:
    """Hooks that note block calls, and the modules between encoder and decoder."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.calls: list[BlockCall] = []
        self.open_calls = 0
        self.seam_calls: dict[int, list[AttentionCall]] = {}
        self.between: list[tuple[nn.Module, Any, Any]] = []

    @contextmanager
    def hooked(self, model: nn.Module, *, seam: bool) -> Generator[None, None, None]:
        with ExitStack() as stack:
            for part in self.parts.blocks:
                stack.enter_context(_removing(part.module.register_forward_pre_hook(self._enter)))
                hook = part.module.register_forward_hook(self._leave(part), with_kwargs=True)
                stack.enter_context(_removing(hook))
            if self.parts.is_encoder_decoder:
                for module in self._outside(model):
                    stack.enter_context(_removing(module.register_forward_hook(self._note)))
            if seam:
                taps = {a.module: self._tap for p in self.parts.blocks for a in p.attentions}
                stack.enter_context(tapped(taps))
            yield

    def _outside(self, model: nn.Module) -> list[nn.Module]:
        inside = {m for part in self.parts.blocks for m in part.module.modules()}
        return [m for m in model.modules() if m not in inside and not any(m.children())]

    def _enter(self, _module: nn.Module, _args: Any) -> None:
        self.open_calls += 1

    def _leave(self, part: Any) -> Callable[..., None]:
        def leave(_module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            self.calls.append(
                BlockCall(index=len(self.calls), part=part, args=args, kwargs=kwargs, output=output)
            )

        return leave

    def _note(self, module: nn.Module, args: Any, output: Any) -> None:
        self.between.append((module, args, output))

    def _tap(self, call: AttentionCall) -> Tensor:
        self.seam_calls.setdefault(self.open_calls - 1, []).append(call)
        return call.output()

    def check(self) -> None:
        silent = [p.name for p in self.parts.blocks if p not in [c.part for c in self.calls]]
        if silent or self.open_calls != len(self.calls):
            raise VesaliusError(
                given=f"blocks that did not run in a forward pass: {silent or 'nested calls'}",
                expected="every block of the parts table to run",
                fix="open the model with the head it is used with, or name its parts with "
                "vesalius.models.register_parts",
            )
        for below, above in pairwise(self.calls):
            same_stack = below.part.stack == above.part.stack
            if same_stack and bool(torch.isnan(below.result).any()):
                raise VesaliusError(
                    given=f"a model whose hidden states are not numbers after {below.part.name}",
                    expected="finite hidden states, also for the padded prompt of the probe",
                    fix="open it in float32, or load it with attn_implementation='sdpa'",
                )
            if same_stack and not torch.equal(below.result, above.hidden):
                raise VesaliusError(
                    given=f"a model that changes the hidden states between {below.part.name} "
                    f"and {above.part.name}",
                    expected="blocks that hand their output to the next block unchanged",
                    fix="this architecture needs its own rule; please report it with its config",
                )

    def with_memory(self) -> tuple[list[BlockCall], nn.Module | None]:
        """Find the encoder output among the arguments of the decoder blocks, and the bridge."""
        encoder = [c for c in self.calls if c.part.stack == "encoder"]
        if not encoder:
            return self.calls, None
        top = encoder[-1].result
        memory, bridge = self._bridge(top)
        calls = [
            c if c.part.stack == "encoder" else replace(c, memory=_same_tensor(c, memory))
            for c in self.calls
        ]
        return calls, bridge

    def _bridge(self, top: Tensor) -> tuple[Tensor, nn.Module | None]:
        decoder = next(c for c in self.calls if c.part.stack == "decoder")
        if _same_tensor(decoder, top) is not None:
            return top, None
        for module, args, output in self.between:
            if args and args[0] is top and isinstance(output, Tensor):
                return output, module
        raise VesaliusError(
            given="an encoder whose output reaches the decoder in a way that was not recognised",
            expected="the last encoder block's output, as it is or through one final norm",
            fix="this architecture needs its own rule; please report it with its config",
        )


def _same_tensor(call: BlockCall, wanted: Tensor) -> Tensor | None:
    """The argument of a call that holds the same numbers as ``wanted``, the hidden apart."""
    for value in (*call.args[1:], *call.kwargs.values()):
        if (
            isinstance(value, Tensor)
            and value is not call.hidden
            and value.shape == wanted.shape
            and value.is_floating_point()
            and torch.equal(value, wanted)
        ):
            return value
    return None


@contextmanager
def _removing(hook: Any) -> Generator[None, None, None]:
    try:
        yield
    finally:
        hook.remove()
