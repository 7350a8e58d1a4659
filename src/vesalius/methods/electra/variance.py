"""`verify-variance`: how steady the discriminator's loss is under each sampler, by enumeration.

At a held-out slot every token is put in turn, and the discriminator asked. With q the generator's
distribution, l the loss of each token, p a sampler and w = q / p, the mean E_p[w l] = sum q l is
the same for all; the variance sum q w l^2 - (sum q l)^2 is what a sampler is for. So for the
gradient by the discriminator's logit, and by all of its parameters (trace of the covariance).

One slot is varied at a time, the others of its document hold one draw. Training varies all at
once and weighs each slot's own loss alone; the losses of the other tokens, whose context the drawn
token is, are not corrected, so their mean does move (``elsewhere_nats``).

Source: this project, paper.md; importance sampling as in Owen 2013, chapter 9.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from tqdm import tqdm

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.checks import check_count
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.methods.electra.enumeration import Batch, at_rest, open_slots
from vesalius.methods.electra.moments import Enumeration, SlotMoments, slot_moments
from vesalius.methods.electra.objective import ReplacedTokenObjective
from vesalius.methods.electra.result import (
    GENERATOR,
    HIGHEST_MEDIAN,
    LOGIT,
    LOSS,
    OPTIMA,
    QUANTITIES,
    VarianceResult,
    divide,
)
from vesalius.methods.electra.variance_ratios import gather

PROBE_MEANINGS: Final[Mapping[str, str]] = {
    "variance_ratio_median": "median over probed slots of the variance of the weighted loss over "
    "that of the generator's draws: below 1 the sampler helps",
    "variance_ratio_mean": "the same, mean over slots",
    "variance_ratio_total": "the same, sum of the variances over sum of the variances",
    "gradient_ratio_median": "median over probed slots, of the gradient at the logit",
    "gradient_ratio_mean": "the same, mean over slots",
    "generator_variance": "mean over probed slots of the variance of the loss under the "
    "generator's own draws, in nats squared",
}


@runtime_checkable
class Batches(Protocol):
    """Batches by number, as `data.replaced.ReplacedBatches` or a list."""

    def __getitem__(self, number: int, /) -> Batch:
        """Return a batch."""
        ...


def verify_variance(
    objective: ReplacedTokenObjective,
    batches: Batches,
    *,
    others: Mapping[str, ReplacedTokenObjective] | None = None,
    num_slots: int = 256,
    num_batches: int = 8,
    num_gradient_slots: int = 0,
    enumeration: Enumeration | None = None,
    temperature: float | None = None,
    tokenizer: Any = None,
    name: str = "",
    seed: int = 0,
) -> VarianceResult:
    """Measure means and variances of the weighted loss and its gradients at held-out slots.

    Args:
        objective: a trained pair; a bare one as ``ReplacedTokenObjective(pair, options=...)``.
        batches: held-out ones; the first `num_batches` are used.
        others: objectives with other heads over the same pair (see `fit_head`), by name.
        num_slots: chosen at random among those of the batches.
        num_gradient_slots: of them, with the gradient by all parameters: a backward pass a token.
        enumeration: which tokens are looked at; all of a small vocabulary.
        temperature: of the generator's draws, instead of that of the batches or options.
        tokenizer: names the tokens of the example.
        name: of the pair, for the card.
        seed: of the choice of slots, the draws and the bootstrap.

    Raises:
        VesaliusError: options out of range, batches without slots, or others that belong to
            another pair or draw from another distribution.
    """
    stopwatch, how = Stopwatch.start(), enumeration or Enumeration()
    _check_counts(num_slots, num_batches, num_gradient_slots)
    objectives = {objective.options.sampler: objective, **_checked(objective, others or {})}
    taken = [batches[number] for number in range(num_batches)]
    chosen = _choose(taken, num_slots=num_slots, seed=seed)
    total = sum(map(len, chosen.values()))
    with_gradient = {int(k * total / num_gradient_slots) for k in range(num_gradient_slots)}
    found: list[SlotMoments] = []
    each = {"how": how, "temperature": temperature, "seed": seed, "with_gradient": with_gradient}
    with at_rest(objective), tqdm(total=total, desc="slots", disable=None) as bar:
        for number, here in chosen.items():
            options: dict[str, Any] = {**each, "first": len(found)}
            for moments in _moments(objectives, taken[number], here, **options):
                found.append(moments)
                bar.update()
    told = {"options": objective.options, "enumeration": how, "temperature": temperature}
    told |= {"num_slots": total, "num_batches": num_batches}
    told["num_gradient_slots"] = len(with_gradient)
    notes = _warnings(objective, total=total, asked=num_slots)
    given: dict[str, Any] = {"config": told, "model": name, "seed": seed, "warnings": notes}
    card = make_card("electra verify-variance", stopwatch=stopwatch, **given)
    return VarianceResult(
        card=card,
        batch_numbers=np.concatenate([np.full(len(here), k) for k, here in chosen.items()]),
        slots=torch.cat([taken[k]["slots"][here] for k, here in chosen.items()]).numpy(),
        **gather(found, max_weight=objective.options.max_weight, tokenizer=tokenizer, seed=seed),
    )


def probe_variance(
    objective: ReplacedTokenObjective,
    batch: Batch,
    *,
    num_slots: int = 16,
    enumeration: Enumeration | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Measure the ratios at a few slots of one batch: cheap enough to be done while training.

    The same slots, draws and tokens each time. The names are those of `PROBE_MEANINGS`; without a
    hardness head there are no ratios.

    Args:
        objective: it is itself again afterwards, its training mode included.
        batch: held out, the same each time; the temperature is that of the options.
        num_slots: chosen at random among those of the batch.
        enumeration: 48 tokens and 16 draws of the rest unless it is given.
        seed: of the choice of slots and the draws.

    Raises:
        VesaliusError: a batch without slots.
    """
    how = enumeration or Enumeration(num_top=48, num_draws=16)
    check_count("num_slots", num_slots, lowest=1, usual=16)
    (chosen,) = _choose([batch], num_slots=num_slots, seed=seed).values()
    own = {objective.options.sampler: objective}
    with at_rest(objective):
        found = list(_moments(own, batch, chosen, how=how, temperature=None, seed=seed))
    variances = np.stack([each.variances for each in found], axis=-1)
    measures = {"generator_variance": float(variances[QUANTITIES.index(LOSS), 0].mean())}
    if objective.head is None:
        return measures
    for quantity, word in ((LOSS, "variance"), (LOGIT, "gradient")):
        generators, own_ones = variances[QUANTITIES.index(quantity), :2]
        ratios = divide(own_ones, generators)
        ratios = ratios[np.isfinite(ratios)]
        if len(ratios):
            measures[f"{word}_ratio_median"] = float(np.median(ratios))
            measures[f"{word}_ratio_mean"] = float(ratios.mean())
        if quantity == LOSS and generators.sum() > 0:
            measures["variance_ratio_total"] = float(own_ones.sum() / generators.sum())
    return measures


def variance_alarms(measures: Mapping[str, float]) -> list[str]:
    """Name what `probe_variance` found wrong, if anything.

    The effective sample size of the weights is no alarm: it is small at the optimum too.
    """
    median = measures.get("variance_ratio_median", 1.0)
    if median <= HIGHEST_MEDIAN:
        return []
    return [
        f"the sampler's variance is {median:.2f} times the generator's at the median slot: it "
        "does harm so far"
    ]


def _choose(
    batches: Sequence[Batch], *, num_slots: int, seed: int
) -> dict[int, Int64[Tensor, " chosen"]]:
    """Choose numbers of slots, at random among those of all batches: by batch, sorted."""
    counts = [len(batch["slots"]) for batch in batches]
    if not sum(counts):
        raise VesaliusError(
            given=f"{len(batches)} batches without a slot",
            expected="held-out batches of ReplacedBatches, with masked places",
            fix="take texts of more than special tokens",
        )
    random = np.random.default_rng(derive_seed(seed, "verify-variance", "slots"))
    size = min(num_slots, sum(counts))
    order = np.sort(random.choice(sum(counts), size=size, replace=False))
    ends = np.cumsum(counts)
    owner = np.searchsorted(ends, order, side="right")
    before = ends - np.array(counts)
    return {
        int(number): torch.from_numpy(order[owner == number] - before[number])
        for number in np.unique(owner)
    }


def _moments(
    objectives: Mapping[str, ReplacedTokenObjective],
    batch: Batch,
    chosen: Int64[Tensor, " chosen"],
    *,
    how: Enumeration,
    temperature: float | None,
    seed: int,
    with_gradient: Collection[int] = (),
    first: int = 0,
) -> Iterator[SlotMoments]:
    """Yield what is found at the chosen slots of a batch; they are counted from `first`."""
    pair = next(iter(objectives.values())).pair
    learned = [name for name, each in objectives.items() if each.head is not None]
    slots = open_slots(list(objectives.values()), batch, chosen, temperature=temperature)
    for number, slot in enumerate(slots, start=first):
        draws = torch.Generator().manual_seed(derive_seed(seed, "verify-variance", number))
        yield slot_moments(
            pair, slot, learned, how=how, generator=draws, with_gradient=number in with_gradient
        )


def _check_counts(num_slots: int, num_batches: int, num_gradient_slots: int) -> None:
    check_count("num_slots", num_slots, lowest=1, usual=256)
    check_count("num_batches", num_batches, lowest=1, usual=8)
    check_count("num_gradient_slots", num_gradient_slots, lowest=0, usual=4)


def _checked(
    objective: ReplacedTokenObjective, others: Mapping[str, ReplacedTokenObjective]
) -> Mapping[str, ReplacedTokenObjective]:
    taken = {GENERATOR, objective.options.sampler, *OPTIMA.values()}
    for name, other in others.items():
        own, its = objective.options, other.options
        same = (own.temperature, own.exclude_original) == (its.temperature, its.exclude_original)
        if other.pair is objective.pair and other.head is not None and same and name not in taken:
            continue
        raise VesaliusError(
            given=f"another objective {name!r} with sampler={its.sampler!r}, "
            f"temperature={its.temperature}, exclude_original={its.exclude_original}",
            expected="a hardness head over the same pair, the same temperature and "
            f"exclude_original, and a name other than {', '.join(sorted(taken))}",
            fix="make it with fit_head(objective, batches, sampler=...)",
        )
    return others


def _warnings(objective: ReplacedTokenObjective, *, total: int, asked: int) -> list[str]:
    found: list[str] = []
    if total < asked:
        found.append(f"the batches have {total} slots, fewer than the {asked} asked for")
    if not objective.options.importance_weights and objective.head is not None:
        found.append(
            "this training weighs nothing (importance_weights is off): its objective is the loss "
            "under its own sampler, and the weighted one here is what it would be with weights"
        )
    return found
