"""Turn neurons down or up where an answer is read, and see the answer move."""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from operator import index

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.core.card import RunCard, Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import spawn_seeds
from vesalius.methods.knowledge_neurons.guesses import best_guesses
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.methods.knowledge_neurons.result import Intervention
from vesalius.models.answers import AnswerSteps, encode_answers
from vesalius.models.batch import Batch
from vesalius.models.neurons import check_fired, neurons_replaced
from vesalius.models.objectives import token_objective
from vesalius.models.replay import check_neurons, replay_scaled
from vesalius.models.specimen import Specimen
from vesalius.parallel.memory import DEFAULT_BYTES


def suppress(
    specimen: Specimen,
    prompts: str | Sequence[str],
    answer: str,
    neurons: Sequence[Neuron],
    *,
    num_controls: int = 20,
    seed: int = 0,
    several_tokens: bool = False,
) -> Intervention:
    """Set neurons to zero where the answer is read; see :func:`intervene`, shapes included.

    Source: arXiv 2104.08696, section 4.4.
    """
    return intervene(
        specimen,
        prompts,
        answer,
        neurons,
        factor=0.0,
        num_controls=num_controls,
        seed=seed,
        several_tokens=several_tokens,
    )


def amplify(
    specimen: Specimen,
    prompts: str | Sequence[str],
    answer: str,
    neurons: Sequence[Neuron],
    *,
    num_controls: int = 20,
    seed: int = 0,
    several_tokens: bool = False,
) -> Intervention:
    """Double neurons where the answer is read; see :func:`intervene`, shapes included.

    Source: arXiv 2104.08696, section 4.4.
    """
    return intervene(
        specimen,
        prompts,
        answer,
        neurons,
        factor=2.0,
        num_controls=num_controls,
        seed=seed,
        several_tokens=several_tokens,
    )


def intervene(
    specimen: Specimen,
    prompts: str | Sequence[str],
    answer: str,
    neurons: Sequence[Neuron],
    *,
    factor: float,
    num_controls: int = 20,
    seed: int = 0,
    several_tokens: bool = False,
) -> Intervention:
    """Scale neurons at the row where the answer is read, beside matched random neurons.

    Args:
        specimen: the opened model; its weights are not touched.
        prompts: cloze prompts with ``[MASK]``.
        answer: one token of the vocabulary.
        neurons: (layer, index) pairs, from 0.
        factor: what the neurons' values are multiplied by.
        num_controls: random sets with as many neurons in each layer, none of the given ones.
        seed: of the random sets.
        several_tokens: whether the answer may take several tokens: each is then read with the
            neurons scaled at its own row.

    Returns:
        Probabilities of shape [prompt] before and after, [control, prompt] for the controls.

    Raises:
        VesaliusError: no neurons, a neuron that is not there, or bad prompts or answer.

    Source: arXiv 2104.08696, section 4.4; the matched random sets are ours.
    """
    stopwatch = Stopwatch.start()
    prompts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    _check_options(factor, num_controls)
    steps = encode_answers(
        specimen, prompts, [answer] * len(prompts), several_tokens=several_tokens
    )
    chosen = checked_neurons(specimen, neurons)
    guesses_before, before = best_guesses(specimen, steps, prompts)
    with scaling(specimen, steps.batch, chosen, factor=factor):
        guesses_after, after = best_guesses(specimen, steps, prompts)
    others = random_sets(specimen, chosen, num_sets=num_controls, seed=seed)
    controls = probs_scaled(specimen, steps, others, factor=factor)
    config: dict[str, object] = {"factor": factor, "num_controls": num_controls}
    config |= {"several_tokens": True} if several_tokens else {}
    return Intervention(
        card=_card(specimen, stopwatch, config, seed=seed),
        prompts=prompts,
        answer=answer,
        neurons=chosen,
        factor=float(factor),
        prob_before=before,
        prob_after=after,
        control_after=controls,
        change=float(relative_change(before, after[None])[0]),
        control_change=relative_change(before, controls),
        guesses_before=guesses_before,
        guesses_after=guesses_after,
    )


def _card(
    specimen: Specimen, stopwatch: Stopwatch, config: dict[str, object], *, seed: int
) -> RunCard:
    return make_card(
        f"neurons intervene x{config['factor']:g}",
        stopwatch=stopwatch,
        config=config,
        model=specimen.name,
        model_fingerprint=specimen.fingerprint,
        seed=seed,
    )


def relative_change(
    before: Float[np.ndarray, " prompt"], after: Float[np.ndarray, "set prompt"]
) -> Float[np.ndarray, " set"]:
    """Give mean(after - before) / mean(before) of each set, a ratio of means; shape [set].

    Source: arXiv 2104.08696, section 4.4 and its code.
    """
    return (after - before).mean(axis=1) / before.mean()


def probs_scaled(
    specimen: Specimen,
    steps: AnswerSteps,
    sets: Sequence[Sequence[Neuron]],
    *,
    factor: float | Sequence[float],
    memory_bytes: int = DEFAULT_BYTES,
) -> Float[np.ndarray, "set prompt"]:
    """Read the answers' probabilities with each of many sets of neurons scaled.

    Args:
        specimen: the opened model.
        steps: the encoded prompts and answers.
        sets: (layer, index) pairs of each set.
        factor: what the neurons are multiplied by, one for all sets or one each.
        memory_bytes: what the work may take at once.

    Returns:
        Shape [set, prompt].

    Raises:
        VesaliusError: a neuron that is not there.

    Source: arXiv 2104.08696, section 4.4.
    """
    objective = token_objective(steps.targets, kind="log-probability")
    logs = replay_scaled(
        specimen,
        steps.batch,
        sets,
        factor=factor,
        objective=objective,
        memory_bytes=memory_bytes,
    )
    return steps.total(logs.T).exp().T.cpu().numpy()


def _check_options(factor: float, num_controls: int) -> None:
    is_factor = isinstance(factor, Real) and math.isfinite(factor)
    is_count = isinstance(num_controls, Integral) and num_controls >= 0
    if not is_factor or not is_count:
        raise VesaliusError(
            given=f"factor={factor!r}, num_controls={num_controls!r}",
            expected="a finite factor and a number of controls from 0",
            fix="use factor=0 to suppress, factor=2 to amplify",
        )


@contextmanager
def scaling(
    specimen: Specimen, batch: Batch, neurons: Sequence[Neuron], *, factor: float
) -> Generator[None, None, None]:
    """Multiply neurons at the row of interest of a batch while the context is open.

    The context holds one forward pass of that batch, shapes [batch, position, neuron] inside. The
    model is at rest meanwhile, so that no other thread runs it with the neurons scaled.

    Raises:
        VesaliusError: a neuron that is not there, or feed-forward layers that did not fire.

    Source: arXiv 2104.08696, section 4.4 (only the mask position is touched).
    """
    by_layer: dict[int, list[int]] = {}
    for layer, neuron in checked_neurons(specimen, neurons):
        by_layer.setdefault(layer, []).append(neuron)
    calls = specimen.plan.calls
    everyone = torch.arange(batch.num_prompts, device=batch.row.device)

    def scale(layer: int, states: Tensor) -> Tensor:
        if layer not in by_layer:
            return states
        rows = batch.rows_of(calls[layer].stack)
        changed = states.clone()
        columns = torch.tensor(by_layer[layer], device=states.device)
        changed[everyone.unsqueeze(1), rows.unsqueeze(1), columns] *= factor
        return changed

    with (
        specimen.at_rest(),
        neurons_replaced(specimen.parts, scale, num_prompts=batch.num_prompts) as fired,
    ):
        yield
    check_fired(fired, specimen.num_layers, specimen.model)


def random_sets(
    specimen: Specimen, neurons: Sequence[Neuron], *, num_sets: int, seed: int
) -> list[tuple[Neuron, ...]]:
    """Draw sets of random neurons, as many in each layer as given and none of those; no shapes.

    The first sets stay the same when more are asked for.

    Raises:
        VesaliusError: a layer without enough other neurons.

    Source: the control of arXiv 2104.08696, section 5, matched by layer.
    """
    seeds = spawn_seeds(seed, num_sets, "random neurons")
    return [_random_set(specimen, neurons, torch.Generator().manual_seed(s)) for s in seeds]


def _random_set(
    specimen: Specimen, neurons: Sequence[Neuron], generator: torch.Generator
) -> tuple[Neuron, ...]:
    drawn: list[Neuron] = []
    for layer in sorted({layer for layer, _ in neurons}):
        taken = {neuron for given, neuron in neurons if given == layer}
        num_neurons = specimen.plan.calls[layer].feed_forward.num_inputs
        others = [n for n in range(num_neurons) if n not in taken]
        if len(others) < len(taken):
            raise VesaliusError(
                given=f"{len(taken)} of the {num_neurons} neurons of layer {layer}",
                expected="at most half of a layer, so that as many others are left",
                fix="take fewer neurons, or num_controls=0",
            )
        order = torch.randperm(len(others), generator=generator)[: len(taken)].tolist()
        drawn += [(layer, others[i]) for i in order]
    return tuple(drawn)


def checked_neurons(specimen: Specimen, neurons: Sequence[Neuron]) -> tuple[Neuron, ...]:
    """Give the neurons once each, if the model has them all; no shapes.

    Raises:
        VesaliusError: no neurons, what is no pair of whole numbers, or a neuron that is not there.

    Source: this project.
    """
    try:
        chosen = tuple((index(layer), index(neuron)) for layer, neuron in neurons)
    except (TypeError, ValueError) as error:
        raise VesaliusError(
            given=f"neurons={neurons!r}"[:200],
            expected="(layer, neuron) pairs of whole numbers",
            fix="write them as [(3, 117), (3, 410)], or take those of neurons.locate",
        ) from error
    if not chosen:
        raise VesaliusError(
            given="no neurons",
            expected="at least one (layer, neuron) pair",
            fix="take those of neurons.locate; where it finds none, lower its share",
        )
    check_neurons(specimen, [chosen])
    return tuple(dict.fromkeys(chosen))
