"""Which heads to remove for a share, in what order; and the model without them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from vesalius.core.checks import check_share
from vesalius.core.errors import VesaliusError
from vesalius.methods.attention_attribution.head_result import HeadImportance
from vesalius.models.attention_sites import AttentionSite, attention_sites
from vesalius.models.pruned import head_groups, prune_heads
from vesalius.models.specimen import Specimen

Head = tuple[int, int]  # site, head
Unit = tuple[Head, ...]  # heads that can only go together


def removal_units(specimen: Specimen) -> tuple[Unit, ...]:
    """List the heads of a model in units that can be removed: one by one, or by key/value group.

    A module that several layers share (ALBERT) loses a head in all of them.

    Raises:
        VesaliusError: an attention class whose heads are not recognised.

    Source: grouped-query attention, arXiv 2305.13245. No shapes.
    """
    groups = head_groups(specimen)
    by_module: dict[int, list[AttentionSite]] = {}
    for site in attention_sites(specimen):
        by_module.setdefault(id(site.module), []).append(site)
    return tuple(
        tuple((site.index, head) for site in sites for head in group)
        for sites in by_module.values()
        for group in groups[sites[0].index]
    )


def rank_units(
    importance: Float[np.ndarray, "site head"], units: Sequence[Unit]
) -> tuple[Unit, ...]:
    """Sort units from the least important up, by the mean over their heads; [site, head] in.

    Ties keep the order of sites and heads.

    Source: arXiv 2004.11207, section 4.3 (all heads of the model in one order).
    """
    values = np.array([np.mean([importance[head] for head in unit]) for unit in units])
    return tuple(units[i] for i in np.argsort(values, kind="stable"))


def first_share(ranked: Sequence[Unit], *, share: float) -> tuple[Head, ...]:
    """Take units from the front until they hold a share of all heads, rounded; no shapes.

    Raises:
        VesaliusError: a share outside [0, 1].

    Source: this project.
    """
    check_share("share", share, usual=0.5, zero=True)
    wanted = share * sum(map(len, ranked))
    taken: list[Head] = []
    for unit in ranked:
        # half a unit more than is wanted is nearer than half a unit less
        if len(taken) + len(unit) / 2 > wanted + 1e-9:
            break
        taken += unit
    return tuple(sorted(taken))


@final
@dataclass(frozen=True, kw_only=True)
class PrunedModel:
    """A model without some heads: ``removed`` (site, head), weights before and after."""

    specimen: Specimen
    removed: tuple[Head, ...]
    num_heads: int
    num_weights_before: int
    num_weights_after: int


def prune(
    specimen: Specimen,
    importance: HeadImportance | Float[np.ndarray, "site head"],
    *,
    share: float = 0.5,
    by: str = "max",
) -> PrunedModel:
    """Remove a share of the heads, the least important ones, for real: a smaller, faster model.

    The given model stays as it is. Heads that share keys and values go together.

    Args:
        specimen: the opened model.
        importance: from :func:`head_importance`, or one number per head, [site, head].
        share: of the heads to remove.
        by: the measure of a HeadImportance.

    Raises:
        VesaliusError: importance of another model, a share outside [0, 1], or attention that
            cannot be cut.

    Source: arXiv 2004.11207, section 4.3; the cut: models/pruned.py.
    """
    ranked = rank_units(importance_of(specimen, importance, by=by), removal_units(specimen))
    removed = first_share(ranked, share=share)
    smaller = prune_heads(specimen, removed)
    return PrunedModel(
        specimen=smaller,
        removed=removed,
        num_heads=sum(map(len, ranked)),
        num_weights_before=num_weights(specimen),
        num_weights_after=num_weights(smaller),
    )


def num_weights(specimen: Specimen) -> int:
    """Count the weights of a model; no shapes.

    Source: this project.
    """
    return sum(parameter.numel() for parameter in specimen.model.parameters())


def importance_of(
    specimen: Specimen,
    importance: HeadImportance | Float[np.ndarray, "site head"],
    *,
    by: str = "max",
) -> Float[np.ndarray, "site head"]:
    """Give the importance of a model's heads as an array [site, head], checked against the model.

    Raises:
        VesaliusError: another number of sites or heads, or importance of other weights.

    Source: this project.
    """
    sites = attention_sites(specimen)
    if isinstance(importance, HeadImportance):
        known = importance.card.model_fingerprint
        if known and known != specimen.fingerprint:
            raise VesaliusError(
                given=f"{specimen.name} ({specimen.fingerprint}) and the heads of "
                f"{importance.card.model} ({known})",
                expected="importance that was measured on this very model",
                fix="measure it again with head_importance (vesalius attention heads)",
            )
        importance = importance.importance(by)
    widest = max(site.num_heads for site in sites)
    real = np.zeros((len(sites), widest), dtype=bool)
    for site in sites:
        real[site.index, : site.num_heads] = True
    if importance.shape != real.shape or not np.isfinite(importance[real]).all():
        raise VesaliusError(
            given=f"importance of shape {list(importance.shape)}",
            expected=f"a finite number for each of {int(real.sum())} heads, {list(real.shape)}",
            fix="take it from HeadImportance.importance",
        )
    return importance
