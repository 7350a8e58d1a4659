"""The scores behind a location: attributions of every neuron to the answers, prompt by prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.methods.knowledge_neurons.config import SEQUENCE, LocateConfig
from vesalius.models.answers import AnswerSteps
from vesalius.models.encoding import encode_prompts, one_token
from vesalius.models.integrals import complete
from vesalius.models.neurons import read_neurons
from vesalius.models.objectives import Objective, token_objective
from vesalius.models.specimen import Specimen
from vesalius.models.staircase import Staircase, StaircaseOptions, attribute_neurons
from vesalius.parallel.memory import parse_bytes


@final
@dataclass(frozen=True, kw_only=True)
class Attributed:
    """Scores and activations [prompt, layer, neuron], and how far to trust them.

    ``end_value`` [prompt] is F(1), ``start_value`` [prompt, layer] F(0) at the baseline, ``gap``
    and ``num_nodes`` [prompt, layer] as in a Location. ``num_incomplete`` counts the integrals,
    of ``num_integrals``, whose sum misses too much. ``logits`` [step, vocab] are the clean ones.
    """

    layer_names: tuple[str, ...]
    scores: Float[np.ndarray, "prompt layer neuron"]
    activations: Float[np.ndarray, "prompt layer neuron"]
    end_value: Float[np.ndarray, " prompt"]
    start_value: Float[np.ndarray, "prompt layer"]
    gap: Float[np.ndarray, "prompt layer"]
    num_nodes: Int[np.ndarray, "prompt layer"]
    num_incomplete: int
    num_integrals: int
    logits: Float[Tensor, "step vocab"]


def attribute_answers(specimen: Specimen, steps: AnswerSteps, config: LocateConfig) -> Attributed:
    """Attribute what a configuration asks for to the neurons of every layer.

    An answer of several tokens is the sum over its steps, each attributed to the neurons of its
    own row. A uniform baseline is the mean over lines from every reference prompt.

    Returns:
        Arrays over [prompt, layer, neuron].

    Raises:
        VesaliusError: a foil or a reference prompt that cannot be encoded.

    Source: arXiv 2104.08696, section 3.2; expected gradients: arXiv 1906.10670.
    """
    batch, start, num_starts = steps.batch, None, 1
    objective = _objective(specimen, steps, config)
    if config.baseline != "zero":
        start = _reference_values(specimen, config)
        num_starts = len(start[0])
        # every step from every start, the starts of one step next to each other
        each = torch.arange(batch.num_prompts, device=batch.row.device)
        batch = batch.select(each.repeat_interleave(num_starts))
        start = [layer.repeat(steps.batch.num_prompts, 1) for layer in start]
        objective = _spread(objective, num_starts)
    options = StaircaseOptions(
        rules=config.rules(),
        tolerance=config.tolerance,
        memory_bytes=parse_bytes(config.memory),
    )
    found = attribute_neurons(specimen, batch, objective=objective, options=options, start=start)
    whole = _is_complete(found, config, specimen.dtype)
    return _gathered(found, steps, num_starts=num_starts, whole=whole)


def _objective(specimen: Specimen, steps: AnswerSteps, config: LocateConfig) -> Objective:
    foils = None
    if config.foil:
        foils = torch.full_like(steps.targets, one_token(specimen, config.foil))
    kind = "log-probability" if config.target == SEQUENCE else config.target
    return token_objective(steps.targets, kind=kind, foils=foils)


def _spread(objective: Objective, num_starts: int) -> Objective:
    return lambda logits, stream: objective(logits, stream // num_starts)


def _reference_values(specimen: Specimen, config: LocateConfig) -> list[Tensor]:
    """The neurons of the reference prompts by layer [reference, neuron], or their mean."""
    batch = encode_prompts(specimen, config.reference)
    calls = specimen.plan.calls
    with specimen.at_rest():
        values = read_neurons(specimen.model, specimen.parts, batch, calls=calls)
    if config.baseline == "mean":
        return [layer.mean(dim=0, keepdim=True) for layer in values]
    return values


def _gathered(
    found: Staircase, steps: AnswerSteps, *, num_starts: int, whole: Tensor
) -> Attributed:
    """Average over starts and sum over the steps of each prompt."""

    def over_starts(values: Tensor) -> Tensor:
        return values.unflatten(0, (-1, num_starts)).mean(dim=1)

    scores = _stacked([steps.total(over_starts(layer)) for layer in found.attribution])
    end = steps.total(over_starts(found.end_value)).cpu().numpy()
    begun = steps.total(over_starts(found.start_value.T)).cpu().numpy()
    if num_starts == 1 and steps.is_plain:
        gap = found.gap.T.cpu().numpy()  # as the climber judged it
    else:
        missed = scores.sum(axis=2, dtype=np.float64) - (end[:, None] - begun)
        gap = np.abs(missed).astype(begun.dtype)
    nodes = found.num_nodes.T.unflatten(0, (-1, num_starts)).amax(dim=1).cpu().numpy()
    most = np.zeros((steps.num_prompts, nodes.shape[1]), dtype=nodes.dtype)
    np.maximum.at(most, steps.prompt.cpu().numpy(), nodes)
    return Attributed(
        layer_names=found.names,
        scores=scores,
        activations=_stacked([steps.mean(over_starts(layer)) for layer in found.signal]),
        end_value=end,
        start_value=begun,
        gap=gap,
        num_nodes=most,
        num_incomplete=int((~whole).sum()),
        num_integrals=whole.numel(),
        logits=found.logits[::num_starts],
    )


def _is_complete(found: Staircase, config: LocateConfig, dtype: torch.dtype) -> Tensor:
    """Judge every integral by the rule that the climber refines them by; [layer, stream]."""
    return torch.stack(
        [
            complete(
                gap,
                end_value=found.end_value,
                start_value=start,
                attribution=attribution,
                tolerance=config.tolerance,
                dtype=dtype,
            )
            for gap, start, attribution in zip(
                found.gap, found.start_value, found.attribution, strict=True
            )
        ]
    )


def _stacked(layers: Sequence[Tensor]) -> Float[np.ndarray, "prompt layer neuron"]:
    """One array for all layers; a narrower layer is filled up with zeros."""
    widest = max(layer.shape[1] for layer in layers)
    padded = [torch.nn.functional.pad(layer, (0, widest - layer.shape[1])) for layer in layers]
    stacked = torch.stack(padded, dim=1).cpu()
    return stacked.to(torch.promote_types(stacked.dtype, torch.float32)).numpy()
