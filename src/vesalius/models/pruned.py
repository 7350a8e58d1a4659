"""Models that have really lost attention heads: made, compared with the masked model, and kept.

Heads are named (site, head) as in :mod:`vesalius.models.attention_sites`. No configuration of the
transformers library can say that layers have different numbers of heads, so the kept ones stand in
the configuration under one key, and :func:`vesalius.open` cuts the modules before it loads weights.

Source: Michel et al. 2019, arXiv 1905.10650 (pruning heads); the files: this project.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.core.paths import new_folder
from vesalius.models.attention_sites import AttentionSite, attention_sites
from vesalius.models.head_layout import HeadLayout, find_layouts
from vesalius.models.head_slicing import bias_heads, keep_heads, silence_heads
from vesalius.models.pruned_check import confirm_logits, logits_difference, probe_logits
from vesalius.models.specimen import Specimen

KEPT_HEADS: Final = "vesalius_kept_heads"  # in config.json: by attention module, by first numbers
_README: Final = """\
# A model with pruned attention heads

Some attention heads are gone from these weights, not the same number in every layer, which no
configuration of the transformers library can say: `from_pretrained` stops at tensors of other
sizes. Open the folder with

    import vesalius
    specimen = vesalius.open("this folder")

`vesalius_kept_heads` in `config.json` lists the heads that each pruned attention module kept, by
their numbers in the model before pruning. An empty list stands for a module that lost all of them:
its first group is there as a placeholder, with zeros where it is read.
"""


def prune_heads(specimen: Specimen, removed: Collection[tuple[int, int]]) -> Specimen:
    """Copy a model without some of its attention heads: smaller, and equal to the masked model.

    The given model stays as it is. A module that loses all heads keeps its first group as a
    placeholder that writes nothing. Heads of the copy are numbered anew from 0.

    Args:
        specimen: the opened model.
        removed: heads to remove, each (site, head). Query heads that share a key and value head
            go together, and so do the sites of a shared module (ALBERT).

    Raises:
        VesaliusError: no such head, part of a group, part of a shared module, weights that are
            quantised, adapted or not in memory, an attention class that is not recognised, or
            logits on the probe that differ from those of the masked model.
    """
    gone = _by_module(specimen, removed)
    model: Any = deepcopy(specimen.model)
    kept: dict[str, list[int]] = dict(getattr(model.config, KEPT_HEADS, None) or {})
    for name, layout in find_layouts(model).items():
        if not gone.get(name):
            continue
        stay = [head for head in range(layout.num_heads) if head not in gone[name]]
        before = kept.get(name, list(range(layout.num_heads)))
        # an empty list is a placeholder: nothing of it is a head that was kept
        kept[name] = [before[head] for head in stay] if before else []
        keep_heads(layout, stay if before else [])
    if kept:
        setattr(model.config, KEPT_HEADS, kept)
    pruned = _renamed(specimen, model)
    confirm_logits(specimen, pruned, removed)
    return pruned


def head_groups(specimen: Specimen) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """List by site the heads that share a key and value head; groups of one where none do.

    Raises:
        VesaliusError: an attention class whose heads are not recognised.
    """
    layouts = find_layouts(specimen.model)
    return tuple(layouts[site.name].groups for site in attention_sites(specimen))


def save_pruned(specimen: Specimen, folder: str | Path, *, force: bool = False) -> Path:
    """Write a pruned model for :func:`vesalius.open`; plain ``from_pretrained`` cannot read it.

    It meets tensors of other sizes than its configuration says, and stops. For a checkpoint that
    it reads, see :func:`export_plain`.

    Args:
        specimen: what :func:`prune_heads` gave.
        folder: where to write; it appears whole or not at all.
        force: replace a folder that holds a model.

    Raises:
        VesaliusError: a model without pruned heads, or a folder that cannot be written.
    """
    if not getattr(specimen.model.config, KEPT_HEADS, None):
        raise VesaliusError(
            given=f"{specimen.name}: a model that no head was pruned from",
            expected="what prune_heads gives",
            fix="prune it first, or write it with specimen.model.save_pretrained(folder)",
        )
    with new_folder(folder, force=force, marker="config.json") as partial:
        _write(specimen, specimen.model, partial)
        (partial / "README.md").write_text(_README, encoding="utf-8")
    return Path(folder)


def export_plain(
    specimen: Specimen,
    removed: Collection[tuple[int, int]],
    folder: str | Path,
    *,
    smaller: bool = False,
    force: bool = False,
) -> Path:
    """Write a model without some heads as an ordinary checkpoint for plain transformers.

    The shapes stay, and what the removed heads write is zero: the logits are those of the masked
    model. With ``smaller`` the heads are really cut, where the configuration can say so: every
    site keeps the same number, and d_head stands in the configuration by itself.

    Args:
        specimen: the opened model, not pruned yet.
        removed: heads to remove, each (site, head).
        folder: where to write; it appears whole or not at all.
        smaller: cut instead of zeroing.
        force: replace a folder that holds a model.

    Raises:
        VesaliusError: whatever :func:`prune_heads` refuses, a model that is pruned already, a
            folder that cannot be written; with ``smaller``, heads that no configuration describes.
    """
    if getattr(specimen.model.config, KEPT_HEADS, None):
        raise VesaliusError(
            given=f"{specimen.name}: a model that is pruned already",
            expected="the model before pruning",
            fix="open the model it was made from and remove all heads at once, or use save_pruned",
        )
    if smaller:
        return _export_smaller(specimen, prune_heads(specimen, removed), folder, force=force)
    gone = _by_module(specimen, removed)
    model = deepcopy(specimen.model)
    for name, layout in find_layouts(model).items():
        silence_heads(layout, sorted(gone.get(name, ())))
    confirm_logits(specimen, _renamed(specimen, model), removed)
    with new_folder(folder, force=force, marker="config.json") as partial:
        _write(specimen, model, partial)
    return Path(folder)


def pruned_class(model_class: type[nn.Module]) -> type[nn.Module]:
    """Derive a model class that is born with the heads that its configuration kept.

    Its ``from_pretrained`` cuts the modules on the meta device, before any weight is there. What
    it makes are ordinary instances of ``model_class``.

    Raises:
        VesaliusError: when called, for a list of heads that does not fit the model.
    """

    def born_cut(self: Any, *args: Any, **kwargs: Any) -> None:
        model_class.__init__(self, *args, **kwargs)
        layouts = find_layouts(self)
        for name, heads in dict(getattr(self.config, KEPT_HEADS, None) or {}).items():
            keep_heads(_listed(layouts, name, heads), heads)
        self.__class__ = model_class

    body = {"__init__": born_cut, "__module__": model_class.__module__}
    return type(model_class.__name__, (model_class,), body)


def _listed(layouts: Mapping[str, HeadLayout], name: str, heads: Any) -> HeadLayout:
    """The layout of a module in the list of config.json, if its heads are there, in order."""
    layout = layouts.get(name)
    if layout is not None and isinstance(heads, list):
        groups = layout.groups_of(heads)
        if heads == [head for group in groups for head in layout.groups[group]]:
            return layout
    raise VesaliusError(
        given=f"{KEPT_HEADS} with {name!r}: {heads!r}",
        expected="an attention module of this model and some of its heads, in order",
        fix="open the folder with the head it was saved with, as save_pruned wrote it",
    )


def _by_module(
    specimen: Specimen, removed: Collection[tuple[int, int]]
) -> dict[str, frozenset[int]]:
    """The heads to remove from each attention module, checked."""
    layouts = find_layouts(specimen.model)
    _refuse_weights(specimen, layouts.values())
    sites = attention_sites(specimen)
    by_site: dict[int, set[int]] = {site.index: set() for site in sites}
    for site, head in removed:
        if site not in by_site or not 0 <= head < sites[site].num_heads:
            raise VesaliusError(
                given=f"head {(site, head)} of {specimen.name}",
                expected=f"(site, head) with a site from 0 to {len(sites) - 1} and one of its "
                f"{sites[site].num_heads if site in by_site else ''} heads, from 0",
                fix="list them with vesalius.models.attention_sites.attention_sites(specimen)",
            )
        by_site[site].add(head)
    found: dict[str, tuple[AttentionSite, set[int]]] = {}
    for site in sites:
        first, heads = found.setdefault(site.name, (site, by_site[site.index]))
        _refuse_part_of_shared(first, heads, site, by_site[site.index])
        _refuse_part_of_group(layouts[site.name], site, by_site[site.index])
    return {name: frozenset(heads) for name, (_, heads) in found.items()}


def _refuse_weights(specimen: Specimen, layouts: Iterable[HeadLayout]) -> None:
    for layout in layouts:
        for linear in layout.linears:
            _ = linear.weight  # quantised weights cannot be cut, and it says so
    if away := [name for name, p in specimen.model.named_parameters() if p.is_meta]:
        raise VesaliusError(
            given=f"{specimen.name}: {away[0]} is not in memory (offloaded)",
            expected="weights on a device",
            fix="open the model without offloading",
        )


def _refuse_part_of_shared(
    first: AttentionSite, heads: set[int], site: AttentionSite, others: set[int]
) -> None:
    if heads != others:
        raise VesaliusError(
            given=f"heads {sorted(heads)} of site {first.index} and {sorted(others)} of site "
            f"{site.index}, which run the same module {site.name}",
            expected="the same heads at every site of a module that runs several times",
            fix="remove a head at all of these sites, or mask it instead",
        )


def _refuse_part_of_group(layout: HeadLayout, site: AttentionSite, heads: set[int]) -> None:
    for group in layout.groups:
        if heads & set(group) and not heads.issuperset(group):
            raise VesaliusError(
                given=f"heads {sorted(heads & set(group))} of site {site.index} without the rest "
                f"of their group {list(group)}",
                expected="whole groups: these heads share one key and value head",
                fix="remove all heads of the group (head_groups lists them), or mask instead",
            )


def _renamed(specimen: Specimen, model: nn.Module) -> Specimen:
    name = specimen.name.removesuffix("-pruned") + "-pruned"
    return Specimen(model=model, tokenizer=specimen.tokenizer, name=name, task=specimen.task)


def _write(specimen: Specimen, model: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    if specimen.tokenizer is not None:
        specimen.tokenizer.save_pretrained(folder)


def _export_smaller(
    specimen: Specimen, pruned: Specimen, folder: str | Path, *, force: bool
) -> Path:
    """Let the model's own class be born from a configuration with fewer heads."""
    source: Any = specimen.model
    layouts = find_layouts(pruned.model)
    config = _smaller_config(source.config, list(layouts.values()), specimen.name)
    weights = _own_bias_cut(pruned)
    try:
        with torch.device("meta"):
            plain: Any = type(source)(config)
        plain.load_state_dict(weights, assign=True)
    except (ValueError, RuntimeError) as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if "size mismatch" in line),
            str(error).partition("\n")[0],
        )
        raise _not_smaller(specimen.name, f"{type(config).__name__}: {reason[:200]}") from error
    plain.tie_weights()
    plain.generation_config = getattr(source, "generation_config", None)
    batch = specimen.probe()
    with new_folder(folder, force=force, marker="config.json") as partial:
        _write(specimen, plain, partial)
        again = type(source).from_pretrained(partial, dtype=specimen.dtype).to(specimen.device)
        reloaded = Specimen(model=again.eval(), tokenizer=None, name="", task=specimen.task)
        seam = specimen.plan.seam
        wanted = probe_logits(pruned, batch, seam=seam)
        if reason := logits_difference(probe_logits(reloaded, batch, seam=seam), wanted):
            raise _not_smaller(specimen.name, f"reloaded, its logits are {reason}")
    return Path(folder)


def _smaller_config(config: Any, layouts: Sequence[HeadLayout], name: str) -> Any:
    numbers = {(layout.num_heads, layout.num_groups, layout.d_head) for layout in layouts}
    if len(numbers) > 1:
        heads = sorted({number for number, _, _ in numbers})
        raise _not_smaller(name, f"sites keep different numbers of heads: {heads}")
    num_heads, num_groups, d_head = numbers.pop()
    config = deepcopy(config)
    values = dict.fromkeys(
        ("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads"), num_heads
    )
    for key, value in (values | {"num_key_value_heads": num_groups}).items():
        if hasattr(config, key):
            setattr(config, key, value)
    config.head_dim = d_head  # where the class does not ask for it, the shapes will tell
    return config


def _own_bias_cut(pruned: Specimen) -> dict[str, Tensor]:
    """The weights of a pruned model, T5's bias of all heads cut to those that its stack kept."""
    weights: dict[str, Tensor] = dict(pruned.model.state_dict())
    for stack in {block.stack for block in pruned.parts.blocks}:
        attentions = [
            part
            for block in pruned.parts.blocks
            for part in block.attentions
            if block.stack == stack and part.kind == "self"
        ]
        kept = {bias_heads(part.module) for part in attentions}
        for part in attentions:
            key = f"{part.name}.relative_attention_bias.weight"
            if key in weights and kept != {None}:
                heads = kept.pop() if len(kept) == 1 else None
                if heads is None:
                    raise _not_smaller(pruned.name, "layers share one bias of relative positions, "
                                       "and do not keep the same heads")  # fmt: skip
                weights[key] = weights[key][:, list(heads)].contiguous()
    return weights


def _not_smaller(name: str, reason: str) -> VesaliusError:
    return VesaliusError(
        given=f"{name} as a smaller ordinary checkpoint: {reason}",
        expected="the same number of heads at every site, and a configuration class in which "
        "d_head stands by itself",
        fix="leave smaller=True (--smaller) out, or write it with save_pruned (--checkpoint)",
    )
