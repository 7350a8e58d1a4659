"""Where the heads of an attention module are: which rows and columns of its linears are whose.

Names tell which linear is which, shapes tell the rest: d_head, grouped queries, and whether all of
it fits. Only shapes are read, so a model on the meta device has its layout too. What is not
recognised is refused; whoever cuts by a layout still has to compare numbers.

Source: the attention classes of the transformers library; their v4 ``prune_heads``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NoReturn

from torch import nn

from vesalius.core.errors import VesaliusError
from vesalius.models.linear import LinearMap, as_linear_map
from vesalius.models.parts import AttentionPart, find_parts

Role = Literal["query", "key or value", "concatenated", "by group"]

_QUERY: Final = ("query", "q_proj", "q_lin", "q", "query_proj")
_KEY: Final = ("key", "k_proj", "k_lin", "k", "key_proj")
_VALUE: Final = ("value", "v_proj", "v_lin", "v", "value_proj")
_POSITION: Final = ("pos_query_proj", "pos_key_proj")  # DeBERTa's, laid out like the queries
_FUSED: Final[dict[str, Role]] = {
    "Wqkv": "concatenated",
    "c_attn": "concatenated",
    "qkv_proj": "concatenated",
    "qkv": "concatenated",
    "query_key_value": "by group",
}
_OUTPUT: Final = ("o_proj", "out_proj", "out_lin", "Wo", "c_proj", "dense", "o", "proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A linear map into the heads, and how they lie in its outputs.

    ``concatenated`` is all queries, then all keys, then all values; ``by group`` is, for one key
    and value head after the other, the queries that share it, the key and the value.
    """

    linear: LinearMap
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLayout:
    """The heads of one attention module.

    ``num_groups`` counts key and value heads: each is shared by num_heads / num_groups query heads.
    ``output`` reads the heads one after the other, d_head numbers each.
    """

    name: str
    module: nn.Module
    num_heads: int
    num_groups: int
    d_head: int
    projections: tuple[Projection, ...]
    output: LinearMap

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The query heads of every key and value head."""
        size = self.num_heads // self.num_groups
        return tuple(tuple(range(first, first + size)) for first in range(0, self.num_heads, size))

    @property
    def linears(self) -> tuple[LinearMap, ...]:
        """Every linear map that belongs to the heads."""
        return (*(projection.linear for projection in self.projections), self.output)

    def groups_of(self, heads: Iterable[int]) -> tuple[int, ...]:
        """Name the groups that the given heads read, in order; the heads are whole groups."""
        wanted = set(heads)
        return tuple(i for i, group in enumerate(self.groups) if wanted.issuperset(group))

    def columns(self, heads: Sequence[int]) -> list[int]:
        """List what ``output`` reads of the given heads."""
        return _spans(heads, self.d_head)

    def rows(self, projection: Projection, heads: Sequence[int]) -> list[int]:
        """List the outputs of a projection that belong to the given heads, whole groups."""
        groups, width = self.groups_of(heads), self.d_head
        if projection.role == "query":
            return _spans(heads, width)
        if projection.role == "key or value":
            return _spans(groups, width)
        if projection.role == "by group":
            return _spans(groups, (self.num_heads // self.num_groups + 2) * width)
        values = self.num_heads + self.num_groups  # where they begin, counted in heads
        return _spans([*heads, *(self.num_heads + g for g in groups)], width) + _spans(
            [values + g for g in groups], width
        )


def _spans(places: Sequence[int], width: int) -> list[int]:
    return [place * width + i for place in places for i in range(width)]


def find_layouts(model: nn.Module) -> dict[str, HeadLayout]:
    """Find the heads of every attention module of a Transformer, by the module's name.

    Raises:
        VesaliusError: an attention class whose projections are not recognised, or adapters.
    """
    parts = find_parts(model)
    return {part.name: _layout(model, part) for block in parts.blocks for part in block.attentions}


def _layout(model: nn.Module, part: AttentionPart) -> HeadLayout:
    linears = {
        path: linear
        for path, child in part.module.named_children()
        if (linear := as_linear_map(f"{part.name}.{path}", child)) is not None
    }
    _refuse_adapters(linears.values())
    output = _one_of(linears, _OUTPUT) or _beside(model, part)
    if output is None or part.num_heads < 1 or output.num_inputs % part.num_heads:
        _refuse(part, f"no output projection that {part.num_heads} heads fill evenly")
    projections = _projections(part, linears)
    known = {id(p.linear.module) for p in projections} | {id(output.module)}
    if other := [name for name, linear in linears.items() if id(linear.module) not in known]:
        _refuse(part, f"a linear map whose place is not known: {other[0]}")
    d_head = output.num_inputs // part.num_heads
    layout = HeadLayout(
        name=part.name,
        module=part.module,
        num_heads=part.num_heads,
        num_groups=_num_groups(projections, part.num_heads, d_head),
        d_head=d_head,
        projections=projections,
        output=output,
    )
    _refuse_misfits(part, layout)
    return layout


def _one_of(linears: dict[str, LinearMap], names: Iterable[str]) -> LinearMap | None:
    return next((linears[name] for name in names if name in linears), None)


def _beside(model: nn.Module, part: AttentionPart) -> LinearMap | None:
    """BERT keeps the output projection in a sibling of the innermost attention module."""
    parent = part.name.rpartition(".")[0]
    for path in ("output.dense", "output"):
        try:
            found = as_linear_map(f"{parent}.{path}", model.get_submodule(f"{parent}.{path}"))
        except AttributeError:
            continue
        if found is not None:
            _refuse_adapters([found])
            return found
    return None


def _projections(part: AttentionPart, linears: dict[str, LinearMap]) -> tuple[Projection, ...]:
    for name, role in _FUSED.items():
        if name in linears:
            return (Projection(linear=linears[name], role=role),)
    query, key, value = (_one_of(linears, names) for names in (_QUERY, _KEY, _VALUE))
    if query is None or key is None or value is None:
        _refuse(part, f"query, key and value not found among {sorted(linears) or 'no linears'}")
    position = [linears[name] for name in _POSITION if name in linears]
    return (
        *(Projection(linear=linear, role="query") for linear in (query, *position)),
        *(Projection(linear=linear, role="key or value") for linear in (key, value)),
    )


def _num_groups(projections: Sequence[Projection], num_heads: int, d_head: int) -> int:
    last = projections[-1]
    heads = last.linear.num_outputs // d_head
    return heads if last.role == "key or value" else (heads - num_heads) // 2


def _refuse_misfits(part: AttentionPart, layout: HeadLayout) -> None:
    """Every projection must be as wide as the numbers of heads say, to the last row."""
    heads, groups = layout.num_heads, layout.num_groups
    if groups < 1 or heads % groups:
        _refuse(part, f"{heads} heads over {groups} key and value heads")
    widths: dict[Role, int] = {"query": heads, "key or value": groups}
    for projection in layout.projections:
        wanted = widths.get(projection.role, heads + 2 * groups) * layout.d_head
        if projection.linear.num_outputs != wanted:
            _refuse(
                part,
                f"{projection.linear.name} has {projection.linear.num_outputs} outputs, not the "
                f"{wanted} of {heads} heads and {groups} key and value heads",
            )


def _refuse_adapters(linears: Iterable[LinearMap]) -> None:
    for linear in linears:
        if hasattr(linear.module, "base_layer"):
            raise VesaliusError(
                given=f"{linear.name}: a linear map under a PEFT adapter",
                expected="plain weights: the adapter would have to be cut too",
                fix="merge the adapter first: model = model.merge_and_unload()",
            )


def _refuse(part: AttentionPart, reason: str) -> NoReturn:
    raise VesaliusError(
        given=f"{part.name} ({type(part.module).__name__}): {reason}",
        expected="an attention class whose heads are found: query, key and value linears or a "
        "fused one, and an output projection",
        fix="mask these heads instead of pruning them, and report the attention class",
    )
