"""Ways to change the attention of streams that climb a recorded ladder, on either seam."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models.attention import AttentionCall, Tap, tapped
from vesalius.models.attention_sites import AttentionSite, attention_sites
from vesalius.models.calls import of_streams
from vesalius.models.ladder import Ladder, Streams
from vesalius.models.softmax_watch import WatchTap, watched
from vesalius.models.specimen import Specimen

# site, probabilities [stream, head, query, key], set [stream], prompt [stream] -> probabilities
LinkChange = Callable[[AttentionSite, Tensor, Tensor, Tensor], Tensor]


class AbstractChange(ABC):
    """How streams' attention is changed, on either seam."""

    def tap(self, site: AttentionSite) -> Tap:
        """For a registered class."""

        def change(call: AttentionCall) -> Tensor:
            return call.attend(self.weights(site, call.weights()))

        return change

    @abstractmethod
    def weights(self, site: AttentionSite, weights: Tensor) -> Tensor:
        """Change probabilities [stream, head, query, key]."""


@final
class HeadGates(AbstractChange):
    """Heads multiplied by ``gates`` [stream, site, head]."""

    def __init__(self, gates: Tensor) -> None:
        self.gates = gates

    def tap(self, site: AttentionSite) -> Tap:
        """Gate A V: the same as gating A, and no square matrix is needed."""

        def gated(call: AttentionCall) -> Tensor:
            output = call.output()
            gate = self.gates[:, site.index, : output.shape[2]].to(output)
            return output * gate[:, None, :, None]

        return gated

    def weights(self, site: AttentionSite, weights: Tensor) -> Tensor:
        """Gate the probabilities themselves, shape [stream, head, query, key]."""
        gate = self.gates[:, site.index, : weights.shape[1]].to(weights)
        return weights * gate[:, :, None, None]


@final
class ChangedLinks(AbstractChange):
    """Probabilities changed by a function that knows set and prompt of every stream."""

    def __init__(self, change: LinkChange, sets: Tensor, prompt: Tensor) -> None:
        self.change, self.sets, self.prompt = change, sets, prompt

    def weights(self, site: AttentionSite, weights: Tensor) -> Tensor:
        """Ask the function, shape [stream, head, query, key]."""
        return self.change(site, weights, self.sets, self.prompt)


@final
class ZeroLeaves(AbstractChange):
    """Nothing changed: a zero leaf added to every A V, or A, whose gradient is theirs."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.heads_last = False

    def tap(self, site: AttentionSite) -> Tap:
        """Add the leaf to A V."""

        def note(call: AttentionCall) -> Tensor:
            self.heads_last = True
            return self._noted(call.output())

        return note

    def weights(self, site: AttentionSite, weights: Tensor) -> Tensor:
        """Add the leaf to A, shape [stream, head, query, key]."""
        return self._noted(weights)

    def _noted(self, value: Tensor) -> Tensor:
        leaf = torch.zeros_like(value).requires_grad_()
        self.seen.append((leaf, value.detach()))
        return value + leaf


def climb_changed(
    specimen: Specimen,
    ladder: Ladder,
    first: int,
    prompt: Int[Tensor, " stream"],
    change: AbstractChange,
) -> Float[Tensor, "stream vocab"]:
    """Climb a recorded ladder from layer ``first`` with changed attention, to the logits.

    ``prompt`` [stream] says whose copy each stream is; the result has shape [stream, vocab].

    Raises:
        VesaliusError: a site of a block that was not met once.

    Source: the staircase of docs/architecture.md.
    """
    call = ladder.calls[first]
    memory = None if call.memory is None else of_streams(call.memory, prompt)
    streams = Streams(hidden=of_streams(call.hidden, prompt), prompt=prompt, memory=memory)
    sites = attention_sites(specimen)
    registry = specimen.plan.seam == "registry"
    for index in range(first, len(ladder.calls)):
        here = [site for site in sites if site.layer == index]
        streams = ladder.enter(index, streams)
        with _changed(here, change, registry=registry):
            streams = ladder.climb(index, streams)
    return ladder.finish(streams)


@contextmanager
def _changed(
    sites: Sequence[AttentionSite], change: AbstractChange, *, registry: bool
) -> Generator[None, None, None]:
    """Change the attention of one block's sites, and insist that each of them was met once."""
    met: dict[nn.Module, int] = {site.module: 0 for site in sites}

    def counted(site: AttentionSite, act: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
        def count(value: Any) -> Tensor:
            met[site.module] += 1
            return act(value)

        return count

    if registry:
        taps: dict[nn.Module, Tap] = {s.module: counted(s, change.tap(s)) for s in sites}
        with tapped(taps):
            yield
    else:
        watches: dict[nn.Module, WatchTap] = {
            s.module: counted(s, lambda w, s=s: change.weights(s, w)) for s in sites
        }
        with watched(watches):
            yield
    if any(count != 1 for count in met.values()):
        raise VesaliusError(
            given=f"attention of class {type(sites[0].module).__name__}, met {list(met.values())} "
            "times in one block",
            expected="once each",
            fix="run `vesalius check MODEL` to see which parts of this model are supported",
        )
