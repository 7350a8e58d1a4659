"""Which parameters a model has: embeddings, each block, the rest of its body, its head.

A tied tensor stands once, under the first of its names (that of ``named_parameters``).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, final

from torch import nn

from vesalius.core.errors import VesaliusError
from vesalius.models.specimen import Specimen

_SECTIONS: Final = ("low", "middle", "high")


@final
@dataclass(frozen=True, kw_only=True)
class WeightGroups:
    """The names of a model's parameters, by where they stand.

    ``layers`` has one entry a block, from the input upwards; blocks that share their weights
    (ALBERT) stand there once. ``rest`` is what the body has beside blocks and embeddings, such as
    a last norm. ``head`` is what the task added, poolers among it.
    """

    embeddings: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...]
    rest: tuple[str, ...]
    head: tuple[str, ...]

    @property
    def encoder(self) -> tuple[str, ...]:
        """All parameters but those of the head."""
        return (*self.embeddings, *(name for layer in self.layers for name in layer), *self.rest)

    @property
    def thirds(self) -> dict[str, tuple[str, ...]]:
        """The blocks in three parts, ``low``, ``middle`` and ``high``: the outer two alike.

        Four blocks are 1, 2 and 1; two are ``low`` and ``high``; a single one has no parts.
        """
        count = len(self.layers)
        outer = round(count / 3)
        if count < 2:
            return {}
        cut = (
            self.layers[:outer],
            self.layers[outer : count - outer],
            self.layers[count - outer :],
        )
        return {
            section: tuple(name for layer in layers for name in layer)
            for section, layers in zip(_SECTIONS, cut, strict=True)
            if layers
        }

    def named(self, group: str) -> tuple[str, ...]:
        """Give the names of a group.

        ``encoder``, ``all``, ``head``, ``embeddings``, ``low``, ``middle``, ``high``, or one
        block such as ``layer 3``.

        Raises:
            VesaliusError: no such group, or an empty one.
        """
        whole = {
            "encoder": self.encoder,
            "all": (*self.encoder, *self.head),
            "embeddings": self.embeddings,
            "head": self.head,
            **self.thirds,
            **{f"layer {place}": layer for place, layer in enumerate(self.layers)},
        }
        if names := whole.get(group):
            return names
        known = ", ".join(name for name in whole if whole[name] and not name.startswith("layer "))
        raise VesaliusError(
            given=f"group {group!r}",
            expected=f"one of {known}, or layer 0 to layer {len(self.layers) - 1}",
            fix="use encoder: everything but the task's head",
        )

    def first_layer(self, names: Collection[str]) -> int:
        """Give the lowest block that some parameters act on; 0 where they act below it.

        What stands beside blocks counts as acting everywhere: it may be a shared position bias.
        Parameters of the head alone give the number of blocks.
        """
        wanted = set(names)
        if wanted & {*self.embeddings, *self.rest}:
            return 0
        touched = [place for place, layer in enumerate(self.layers) if wanted & set(layer)]
        return min(touched, default=len(self.layers))


def weight_groups(specimen: Specimen) -> WeightGroups:
    """Sort the parameters of a model by where they stand; each tied tensor once. No shapes.

    Raises:
        VesaliusError: weights that are quantised or not in memory.

    Source: the parts table of docs/architecture.md.
    """
    model = specimen.model
    named = dict(model.named_parameters())
    _check_movable(specimen, named)
    body = _ids(_body(model))
    blocks = [_ids(part.module) for part in specimen.parts.blocks]
    looked_up = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters(recurse=False)
    }
    layers: list[list[str]] = [[] for _ in blocks]
    embeddings: list[str] = []
    rest: list[str] = []
    head: list[str] = []
    for name, parameter in named.items():
        place = next((i for i, ids in enumerate(blocks) if id(parameter) in ids), None)
        if place is not None:
            layers[place].append(name)
        elif id(parameter) not in body or "pooler" in name:
            head.append(name)
        elif id(parameter) in looked_up or "embed" in name:
            embeddings.append(name)
        else:
            rest.append(name)
    return WeightGroups(
        embeddings=tuple(embeddings),
        layers=tuple(tuple(layer) for layer in layers),
        rest=tuple(rest),
        head=tuple(head),
    )


def _body(model: nn.Module) -> nn.Module:
    inner: Any = getattr(model, "get_base_model", lambda: model)()  # inside PEFT's wrapping
    body = getattr(inner, "base_model", inner)
    return body if isinstance(body, nn.Module) else inner


def _ids(module: nn.Module) -> set[int]:
    return {id(parameter) for parameter in module.parameters()}


def _check_movable(specimen: Specimen, named: dict[str, nn.Parameter]) -> None:
    def refused() -> Iterator[tuple[str, str]]:
        for name, parameter in named.items():
            if parameter.is_meta:
                yield name, "not in memory (offloaded)"
            elif not parameter.is_floating_point():
                yield name, f"quantised ({parameter.dtype})"

    if found := next(refused(), None):
        name, reason = found
        raise VesaliusError(
            given=f"{specimen.name}: weights of {name} that are {reason}",
            expected="weights in memory, as floating-point numbers",
            fix="open the model in float32 or bfloat16, without offloading",
        )
