"""How far a located set is to be believed: effect against size, beside matched controls."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from jaxtyping import Float

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.methods.knowledge_neurons.config import SEQUENCE
from vesalius.methods.knowledge_neurons.intervene import probs_scaled, random_sets, relative_change
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.methods.knowledge_neurons.result import Evidence, Location
from vesalius.models.answers import encode_answers
from vesalius.models.specimen import Specimen
from vesalius.numerics.statistics import bootstrap_interval
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

    A set is believed when it moves the answer more than its controls do, and when a few neurons do
    most of what many do.

    Args:
        specimen: the model that the location was found in.
        location: from ``neurons.locate``.
        sizes: numbers of neurons, growing; those that exceed the neurons with a positive score, or
            half of a layer, are left out.
        factors: what the neurons are multiplied by; 0 suppresses, 2 amplifies.
        num_controls: sets of each kind of control, from 1.
        seed: of the control sets and of the bootstrap.
        memory: what the work may take at once.

    Returns:
        Probabilities [factor, size, prompt], changes with intervals, and a sentence.

    Raises:
        VesaliusError: another model than the location's, no neuron with a positive score, or sizes
            or a number of controls without meaning.

    Source: the controls and size sweep that arXiv 2405.02421 asks of knowledge neurons; paired
    with the metric of arXiv 2104.08696, section 4.4.
    """
    stopwatch = Stopwatch.start()
    _check(specimen, location, sizes, num_controls)
    ranking = _ranking(location, max(sizes))
    sizes = [size for size in sizes if size <= len(ranking)]
    steps = encode_answers(
        specimen,
        location.prompts,
        [location.answer] * len(location.prompts),
        several_tokens=location.card.config.get("target") == SEQUENCE,
    )
    sets: list[Sequence[Neuron]] = []
    for size in sizes:
        top, here = ranking[:size], derive_seed(seed, "evidence", size)
        sets += [
            top,
            *random_sets(specimen, top, num_sets=num_controls, seed=here),
            *_active_sets(location, top, num_sets=num_controls, seed=here),
        ]
    together = [list(found) for _ in factors for found in sets]
    probs = probs_scaled(
        specimen,
        steps,
        together,
        factor=[factor for factor in factors for _ in sets],
        memory_bytes=parse_bytes(memory),
    )
    num_prompts = len(location.prompts)
    after = probs.reshape(len(factors), len(sizes), 1 + 2 * num_controls, num_prompts)
    parts = {
        "prob_after": after[:, :, 0],
        "random_after": after[:, :, 1 : 1 + num_controls],
        "active_after": after[:, :, 1 + num_controls :],
    }
    numbers = _changes(location.prob, **parts, seed=seed)
    return Evidence(
        card=make_card(
            "neurons evidence",
            stopwatch=stopwatch,
            config={"sizes": sizes, "factors": list(factors), "num_controls": num_controls},
            model=specimen.name,
            model_fingerprint=specimen.fingerprint,
            seed=seed,
        ),
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
            numbers["low"][place], numbers["high"][place] = _over_prompts(
                before, prob_after[place], seed=derive_seed(seed, "bootstrap", *place)
            )
        for name, after in (("random", random_after), ("active", active_after)):
            changes = relative_change(before, after[place])
            numbers[f"{name}_mean"][place] = changes.mean()
            low, high = np.quantile(changes, [0.025, 0.975])
            numbers[f"{name}_low"][place], numbers[f"{name}_high"][place] = low, high
    return numbers


def _over_prompts(
    before: Float[np.ndarray, " prompt"], after: Float[np.ndarray, " prompt"], *, seed: int
) -> tuple[float, float]:
    """A bootstrap interval of the ratio of means: prompts are drawn, both of their numbers."""

    def ratio(drawn: Any, axis: int) -> Any:
        # positions of prompts are drawn as numbers, so that before and after stay together
        places = drawn.astype(int)
        return (after[places] - before[places]).mean(axis=axis) / before[places].mean(axis=axis)

    found = bootstrap_interval(
        np.arange(len(before), dtype=np.float64),
        generator=np.random.default_rng(seed),
        statistic=ratio,
        num_resamples=1000,
    )
    return found.low, found.high


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
