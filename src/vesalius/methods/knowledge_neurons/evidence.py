"""How far a located set is to be believed: effect against size, beside matched controls."""

import math
from collections.abc import Sequence
from functools import partial
from numbers import Integral, Real

import numpy as np
from jaxtyping import Float

from vesalius.core.card import RunCard, Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.methods.knowledge_neurons.config import SEQUENCE
from vesalius.methods.knowledge_neurons.intervene import probs_scaled, random_sets, relative_change
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.methods.knowledge_neurons.result import Evidence, Location
from vesalius.models.answers import encode_answers
from vesalius.models.specimen import Specimen
from vesalius.numerics.statistics import ratio_interval
from vesalius.parallel.memory import parse_bytes

SIZES = (1, 2, 4, 8, 16, 32, 64)
FACTORS = (0.0, 2.0)
_NEAR = 4  # a control is drawn from so many times as many neurons as there are to match


def evidence(
    specimen: Specimen,
    location: Location,
    *,
    sizes: Sequence[int] = SIZES,
    factors: Sequence[float] = FACTORS,
    num_controls: int = 20,
    seed: int = 0,
    memory: str = "2GiB",
) -> Evidence:
    """Scale ever more of the highest-scored neurons, beside random and equally active ones.

    Args:
        specimen, location: the model, and what ``neurons.locate`` found in it.
        sizes: numbers of neurons, growing; those for which there are not as many neurons with a
            positive score, and as many others in their layers, are left out.
        factors: what the neurons are multiplied by; 0 suppresses, 2 amplifies.
        num_controls: sets of each kind, from 1.
        seed: of the control sets and of the bootstrap.
        memory: what the work may take at once.

    Raises:
        VesaliusError: another model than the location's, no neuron with a positive score, or sizes
            or a number of controls without meaning. Probabilities are [factor, size, prompt].

    Source: the controls that arXiv 2405.02421 asks for, with the measure of arXiv 2104.08696.
    """
    stopwatch = Stopwatch.start()
    _check(specimen, location, sizes, num_controls)
    _check_factors(factors)
    ranking = _ranking(location, max(sizes))
    sizes = [size for size in sizes if size <= len(ranking)]
    make = partial(_sets, specimen, location, num_controls=num_controls)
    seeds = [derive_seed(seed, "evidence", size) for size in sizes]
    drawn = zip(sizes, seeds, strict=True)
    sets = [each for size, own in drawn for each in make(ranking[:size], seed=own)]
    probs = _probs(specimen, location, sets, factors, memory_bytes=parse_bytes(memory))
    after = probs.reshape(len(factors), len(sizes), 1 + 2 * num_controls, -1)
    parts = {
        "prob_after": after[:, :, 0],
        "random_after": after[:, :, 1 : 1 + num_controls],
        "active_after": after[:, :, 1 + num_controls :],
    }
    numbers = _changes(location.prob, **parts, seed=seed)
    return Evidence(
        card=_card(specimen, stopwatch, sizes, factors, num_controls=num_controls, seed=seed),
        prompts=location.prompts,
        answer=location.answer,
        ranking=tuple(ranking),
        num_set=len(location.neurons),
        sizes=np.array(sizes),
        factors=np.array(factors, dtype=np.float64),
        prob_before=location.prob,
        **parts,
        **numbers,
        stability=location.stability,
        max_gap=float(location.gap.max()),
        verdict=_verdict(location, sizes, numbers),
    )


def _card(
    specimen: Specimen, stopwatch: Stopwatch, sizes: Sequence[int], factors: Sequence[float], *,
    num_controls: int, seed: int,
) -> RunCard:  # fmt: skip
    return make_card(
        "neurons evidence",
        stopwatch=stopwatch,
        config={"sizes": list(sizes), "factors": list(factors), "num_controls": num_controls},
        model=specimen.name,
        model_fingerprint=specimen.fingerprint,
        seed=seed,
    )


def _sets(
    specimen: Specimen, location: Location, top: Sequence[Neuron], *, num_controls: int, seed: int
) -> list[Sequence[Neuron]]:
    """The highest-scored neurons, then the random sets, then the equally active ones."""
    return [
        top,
        *random_sets(specimen, top, num_sets=num_controls, seed=seed),
        *_active_sets(location, top, num_sets=num_controls, seed=seed),
    ]


def _probs(
    specimen: Specimen, location: Location, sets: Sequence[Sequence[Neuron]],
    factors: Sequence[float], *, memory_bytes: int,
) -> Float[np.ndarray, "set prompt"]:  # fmt: skip
    """The answers' probabilities under every set, all of them for each factor in turn."""
    steps = encode_answers(
        specimen,
        location.prompts,
        [location.answer] * len(location.prompts),
        several_tokens=location.card.config.get("target") == SEQUENCE,
    )
    return probs_scaled(
        specimen,
        steps,
        [found for _ in factors for found in sets],
        factor=[factor for factor in factors for _ in sets],
        memory_bytes=memory_bytes,
    )


def _check(specimen: Specimen, location: Location, sizes: Sequence[int], num_controls: int) -> None:
    if location.card.model_fingerprint != specimen.fingerprint:
        raise VesaliusError(
            given=f"a location in {location.card.model} ({location.card.model_fingerprint})",
            expected=f"one in this model, {specimen.name} ({specimen.fingerprint})",
            fix="locate again in this model",
        )
    counts = [*sizes, num_controls]
    growing = sorted(set(sizes)) == list(sizes)
    if not sizes or not growing or not all(isinstance(n, Integral) and n >= 1 for n in counts):
        raise VesaliusError(
            given=f"sizes={list(sizes)}, num_controls={num_controls!r}",
            expected="growing sizes and a number of controls, whole numbers from 1",
            fix="leave them out",
        )


def _check_factors(factors: Sequence[float]) -> None:
    if not len(factors) or not all(isinstance(f, Real) and math.isfinite(f) for f in factors):
        raise VesaliusError(
            given=f"factors={list(factors)}",
            expected="at least one finite number",
            fix="leave them out: 0 suppresses, 2 amplifies",
        )


def _ranking(location: Location, most: int) -> list[Neuron]:
    """Neurons by mean score, the highest first, as far as controls can be drawn for them."""
    scores = location.mean_scores
    width = scores.shape[1]
    order = np.argsort(-scores, axis=None, kind="stable")[:most].tolist()
    found: list[Neuron] = []
    taken = [0] * len(scores)
    for place in order:
        layer, neuron = divmod(place, width)
        # as many others must be left in the layer, with a choice among them
        if scores[layer, neuron] <= 0 or (taken[layer] + 1) * 2 > width:
            break
        taken[layer] += 1
        found.append((layer, neuron))
    if not found:
        raise VesaliusError(
            given=f"a location of {location.answer!r} in which no neuron has a positive score",
            expected="at least one neuron that raises the answer",
            fix="ask for a fact that the model answers",
        )
    return found


def _active_sets(
    location: Location, neurons: Sequence[Neuron], *, num_sets: int, seed: int
) -> list[tuple[Neuron, ...]]:
    """Draw other neurons of the same layers that are about as active as the given ones."""
    generator = np.random.default_rng(seed)
    activity = np.abs(location.activations).mean(axis=0)
    return [_active_set(activity, neurons, generator) for _ in range(num_sets)]


def _active_set(
    activity: Float[np.ndarray, "layer neuron"],
    neurons: Sequence[Neuron],
    generator: np.random.Generator,
) -> tuple[Neuron, ...]:
    taken = set(neurons)
    drawn: list[Neuron] = []
    for layer, neuron in neurons:
        distance = np.abs(activity[layer] - activity[layer, neuron])
        near = [n for n in np.argsort(distance, kind="stable").tolist() if (layer, n) not in taken]
        choice = (layer, near[int(generator.integers(min(_NEAR, len(near))))])
        taken.add(choice)
        drawn.append(choice)
    return tuple(drawn)


def _changes(
    before: Float[np.ndarray, " prompt"],
    *,
    prob_after: Float[np.ndarray, "factor size prompt"],
    random_after: Float[np.ndarray, "factor size control prompt"],
    active_after: Float[np.ndarray, "factor size control prompt"],
    seed: int,
) -> dict[str, Float[np.ndarray, "factor size"]]:
    """Relative changes, their intervals over prompts, and what the control sets do."""
    shape = prob_after.shape[:2]
    numbers = {name: np.full(shape, np.nan) for name in ("change", "low", "high")}
    for name in ("random", "active"):
        numbers |= {f"{name}_{key}": np.zeros(shape) for key in ("low", "mean", "high")}
    for place in np.ndindex(*shape):
        numbers["change"][place] = relative_change(before, prob_after[place][None])[0]
        if len(before) > 1:
            generator = np.random.default_rng(derive_seed(seed, "bootstrap", *place))
            found = ratio_interval(prob_after[place] - before, before, generator=generator)
            numbers["low"][place], numbers["high"][place] = found.low, found.high
        for name, after in (("random", random_after), ("active", active_after)):
            changes = relative_change(before, after[place])
            numbers[f"{name}_mean"][place] = changes.mean()
            low, high = np.quantile(changes, [0.025, 0.975])
            numbers[f"{name}_low"][place], numbers[f"{name}_high"][place] = low, high
    return numbers


def _verdict(
    location: Location, sizes: Sequence[int], numbers: dict[str, Float[np.ndarray, "factor size"]]
) -> str:
    """A plain sentence about the set's stability and about its effect beside the controls."""
    size = min(sizes, key=lambda each: abs(each - max(len(location.neurons), 1)))
    at = (0, list(sizes).index(size))
    low, high = numbers["random_low"][at], numbers["random_high"][at]
    change, most = numbers["change"][at], numbers["change"][0, -1]
    stands_out = (
        not min(low, numbers["active_low"][at]) <= change <= max(high, numbers["active_high"][at])
    )
    effect = (
        f"The highest-scored {f'{size} neurons change' if size > 1 else 'neuron changes'} "
        f"the probability by {change:+.1%}, random ones by {numbers['random_mean'][at]:+.1%} and "
        f"equally active ones by {numbers['active_mean'][at]:+.1%}"
    )
    judged = "more than the controls do" if stands_out else "which is no more than the controls do"
    sentence = f"{effect}: {judged}." if stands_out else f"{effect}, {judged}."
    if stands_out and abs(most) > 2 * abs(change):
        sentence += (
            f" {sizes[-1]} neurons change it by {most:+.1%}: most of the fact lies outside the set."
        )
    return f"{location.verdict} {sentence}"
