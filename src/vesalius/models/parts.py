"""The parts table: blocks, feed-forward value layers and attention modules, found by structure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from torch import nn

from vesalius.core.errors import VesaliusError
from vesalius.models.linear import LinearMap, as_linear_map

Stack = Literal["only", "encoder", "decoder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPart:
    """One attention module: where it is, and whether it reads another sequence."""

    name: str
    module: nn.Module
    num_heads: int
    kind: Literal["self", "cross"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPart:
    """One Transformer block: its attention modules and the last linear of its feed-forward."""

    name: str
    module: nn.Module
    stack: Stack
    attentions: tuple[AttentionPart, ...]
    feed_forward: LinearMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of one model. A block that is called several times (ALBERT) stands here once."""

    blocks: tuple[BlockPart, ...]
    d_model: int
    is_encoder_decoder: bool
    num_vocab: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsRule:
    """Where the parts of an architecture are, when structure alone does not tell.

    ``block_class`` is the class name of a block, ``feed_forward`` the path of its last
    feed-forward linear inside the block, ``attentions`` the paths of its attention modules.
    """

    block_class: str
    feed_forward: str
    attentions: tuple[str, ...]


# Exceptions by `config.model_type`; empty as long as structure finds every architecture we test.
_RULES: dict[str, PartsRule] = {}


def register_parts(model_type: str, rule: PartsRule) -> None:
    """Tell the parts finder about an architecture that it does not recognise.

    Raises:
        VesaliusError: an empty model type.

    Source: seam 1 of docs/architecture.md.
    """
    if not model_type:
        raise VesaliusError(
            given="an empty model type",
            expected="the model_type of the configuration",
            fix="read it off model.config.model_type",
        )
    _RULES[model_type] = rule


def find_parts(model: nn.Module, *, model_type: str | None = None) -> Parts:
    """Find blocks, feed-forward value layers and attention modules of a Transformer.

    A block is a smallest member of a ``ModuleList`` that holds attention and, outside of it, a
    linear map onto d_model; the last such map is the feed-forward value layer.

    Raises:
        VesaliusError: mixture-of-experts layers, or no block found (it says what was searched).

    Source: seam 1 of docs/architecture.md.
    """
    config = getattr(model, "config", None)
    d_model = _hidden_size(config)
    rule = _RULES.get(model_type or getattr(config, "model_type", ""))
    blocks = tuple(_blocks(model, config, d_model, rule))
    if not blocks:
        _refuse_unknown(model, d_model)
    if rule is None:
        _refuse_odd_siblings(model, blocks)
    return Parts(
        blocks=blocks,
        d_model=d_model,
        is_encoder_decoder=bool(getattr(config, "is_encoder_decoder", False)),
        num_vocab=getattr(_text_config(config), "vocab_size", None),
    )


def _text_config(config: object) -> object:
    get = getattr(config, "get_text_config", None)
    return get() if callable(get) else config


def _hidden_size(config: object) -> int:
    for owner in (config, _text_config(config)):
        for key in ("hidden_size", "d_model", "n_embd", "dim"):
            value = getattr(owner, key, None)
            if isinstance(value, int):
                return value
    raise VesaliusError(
        given=f"a model with the configuration {type(config).__name__}",
        expected="a configuration with hidden_size, d_model, n_embd or dim",
        fix="open a Transformer of the transformers library",
    )


def _blocks(
    model: nn.Module, config: object, d_model: int, rule: PartsRule | None
) -> Iterator[BlockPart]:
    for name, module in _candidates(model, rule):
        _refuse_experts(name, module)
        attentions = _attentions(name, module, config, rule)
        feed_forward = _feed_forward(name, module, d_model, rule)
        named = rule is not None  # what a user registered is taken at its word
        if feed_forward is None or not (named or _is_wide(feed_forward, config)):
            _refuse_feed_forward(name, module, feed_forward, config)
        yield BlockPart(
            name=name,
            module=module,
            stack=_stack(name, config),
            attentions=attentions,
            feed_forward=feed_forward,
        )


def _candidates(model: nn.Module, rule: PartsRule | None) -> Iterator[tuple[str, nn.Module]]:
    """Members of module lists that hold attention, outermost first, none inside another."""
    taken: list[str] = []
    for list_name, modules in model.named_modules():
        if rule is None and not isinstance(modules, nn.ModuleList):
            continue
        members = modules.named_children() if rule is None else [("", modules)]
        for child_name, child in members:
            name = f"{list_name}.{child_name}" if child_name else list_name
            inside = any(name.startswith(f"{t}.") for t in taken)
            wanted = (
                type(child).__name__ == rule.block_class
                if rule
                else _holds_attention(child) and not _holds_blocks(child)
            )
            if wanted and not inside:
                taken.append(name)
                yield name, child


def _is_attention(module: nn.Module) -> bool:
    return "Attention" in type(module).__name__ and any(True for _ in module.parameters())


def _holds_attention(module: nn.Module) -> bool:
    return any(_is_attention(m) for m in module.modules() if m is not module)


def _holds_blocks(module: nn.Module) -> bool:
    """A module list inside, of members with attention *and* feed-forward (ALBERT's groups)."""
    return any(
        _holds_attention(child) and len(_linears_outside_attention("", child)) > 0
        for sub in module.modules()
        if isinstance(sub, nn.ModuleList)
        for child in sub.children()
    )


def _attentions(
    name: str, block: nn.Module, config: object, rule: PartsRule | None
) -> tuple[AttentionPart, ...]:
    """The innermost attention modules of a block, in the order of their definition."""
    found: list[tuple[str, nn.Module]] = []
    for path, module in block.named_modules():
        if rule is not None:
            if path in rule.attentions:
                found.append((path, module))
        elif path and _is_attention(module) and not _holds_attention(module):
            found.append((path, module))
    return tuple(
        AttentionPart(
            name=f"{name}.{path}",
            module=module,
            num_heads=_num_heads(module, config),
            kind="cross" if _is_cross(path, module) else "self",
        )
        for path, module in found
    )


def _is_cross(path: str, module: nn.Module) -> bool:
    words = f"{path} {type(module).__name__}".lower()
    return any(word in words for word in ("cross", "encdec", "encoder_attn"))


def _num_heads(module: nn.Module, config: object) -> int:
    for owner in (module, getattr(module, "config", None), config, _text_config(config)):
        for key in ("num_attention_heads", "num_heads", "n_heads", "n_head"):
            value = getattr(owner, key, None)
            if isinstance(value, int) and value > 0:
                return value
    return 0


def _linears_outside_attention(name: str, block: nn.Module) -> list[LinearMap]:
    attention_paths = [p for p, m in block.named_modules() if p and _is_attention(m)]
    linears: list[LinearMap] = []
    for path, module in block.named_modules():
        if any(path == p or path.startswith(f"{p}.") for p in attention_paths):
            continue
        if any(
            linear.name and f"{name}.{path}".startswith(f"{linear.name}.") for linear in linears
        ):
            continue  # the inner layers of a PEFT-wrapped linear
        linear = as_linear_map(f"{name}.{path}", module)
        if linear is not None:
            linears.append(linear)
    return linears


def _feed_forward(
    name: str, block: nn.Module, d_model: int, rule: PartsRule | None
) -> LinearMap | None:
    if rule is not None:
        found = dict(block.named_modules()).get(rule.feed_forward)
        linear = None if found is None else as_linear_map(f"{name}.{rule.feed_forward}", found)
        if linear is None:
            raise VesaliusError(
                given=f"feed_forward={rule.feed_forward!r} for {type(block).__name__}",
                expected="the path of a linear layer inside the block",
                fix=f"look at the modules of {name}",
            )
        return linear
    onto_model = [m for m in _linears_outside_attention(name, block) if m.num_outputs == d_model]
    return onto_model[-1] if onto_model else None


def _stack(name: str, config: object) -> Stack:
    if not getattr(config, "is_encoder_decoder", False):
        return "only"
    return "decoder" if "decoder" in name.split(".") else "encoder"


_WIDTHS = (
    *("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "n_inner"),
    *("hidden_dim", "dff", "d_inner", "ffn_hidden_size"),
)


def _widths(config: object) -> set[int]:
    """The feed-forward widths that a configuration names."""
    found: set[int] = set()
    for owner in (config, _text_config(config)):
        for key in _WIDTHS:
            value: Any = getattr(owner, key, None)
            values: list[Any] = value if isinstance(value, list) else [value]
            found |= {v for v in values if isinstance(v, int)}
    return found


def _is_wide(feed_forward: LinearMap, config: object) -> bool:
    """Whether a layer reads as many neurons as the configuration says, where it says it."""
    widths = _widths(config)
    return not widths or feed_forward.num_inputs in widths


def _refuse_feed_forward(
    name: str, block: nn.Module, found: LinearMap | None, config: object
) -> NoReturn:
    seen = "none" if found is None else f"{found.name} with {found.num_inputs} inputs"
    raise VesaliusError(
        given=f"{name} ({type(block).__name__}): no feed-forward value layer was found; {seen}",
        expected="a last linear map onto d_model, outside of attention, that reads "
        f"{sorted(_widths(config)) or 'd_ff'} neurons",
        fix="name the parts with vesalius.models.register_parts(model_type, PartsRule(...))",
    )


def _refuse_odd_siblings(model: nn.Module, blocks: tuple[BlockPart, ...]) -> None:
    """A list of blocks may not hold a member that is none: it would be skipped in silence."""
    known = {block.name for block in blocks}
    for name, modules in model.named_modules():
        if not isinstance(modules, nn.ModuleList):
            continue
        members = {f"{name}.{child}": m for child, m in modules.named_children()}
        odd = [n for n in members if n not in known]
        if odd and len(odd) < len(members):
            raise VesaliusError(
                given=f"{odd[0]} ({type(members[odd[0]]).__name__}), no block, among blocks",
                expected="layers that all have attention and a feed-forward",
                fix="this hybrid architecture is not supported; please report it with its config",
            )


def _refuse_experts(name: str, block: nn.Module) -> None:
    for path, module in block.named_modules():
        kind = type(module).__name__
        own = () if "Attention" in kind or "Conv" in kind else module.parameters(recurse=False)
        if (
            any(p.dim() == 3 for p in own)
            or "Experts" in kind
            or "SparseMoe" in kind
            or kind.endswith("MoE")
        ):
            raise VesaliusError(
                given=f"mixture-of-experts layer {name}.{path} ({kind})",
                expected="one dense feed-forward layer per block",
                fix="open a dense model: which experts fire depends on the scaled neurons, "
                "so these scores are not defined here yet",
            )


def _refuse_unknown(model: nn.Module, d_model: int) -> None:
    lists = [n for n, m in model.named_modules() if isinstance(m, nn.ModuleList)]
    raise VesaliusError(
        given=f"{type(model).__name__}: no Transformer block was found in it",
        expected=f"a ModuleList whose members hold a module named *Attention* and, outside of it, "
        f"a linear map onto d_model={d_model}; searched the lists {lists or 'none'}",
        fix="name the parts with vesalius.models.register_parts(model_type, PartsRule(...))",
    )
