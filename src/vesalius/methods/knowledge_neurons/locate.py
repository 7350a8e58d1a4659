"""Locate the feed-forward neurons that hold a fact."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.core.card import RunCard, Stopwatch, make_card
from vesalius.methods.knowledge_neurons.config import LocateConfig
from vesalius.methods.knowledge_neurons.guesses import best_guesses
from vesalius.methods.knowledge_neurons.refine import (
    Neuron,
    Refined,
    coarse_set,
    refine,
    search_share,
)
from vesalius.methods.knowledge_neurons.result import Location
from vesalius.models.encoding import answer_ids, encode_prompts
from vesalius.models.integrals import complete
from vesalius.models.objectives import token_objective
from vesalius.models.specimen import Specimen
from vesalius.models.staircase import Staircase, StaircaseOptions, attribute_neurons
from vesalius.numerics.statistics import jaccard
from vesalius.parallel.memory import parse_bytes


def locate(
    specimen: Specimen,
    prompts: str | Sequence[str],
    answer: str,
    *,
    config: LocateConfig | None = None,
) -> Location:
    """Score every feed-forward neuron for a fact, and keep those that its paraphrases agree on.

    Args:
        specimen: the opened model.
        prompts: one cloze prompt or several paraphrases, with ``[MASK]`` where the answer belongs.
        answer: one token of the model's vocabulary.
        config: target, quadrature and thresholds; the thresholds are the paper's.

    Returns:
        Scores [prompt, layer, neuron], sets, completeness gap and agreement of the paraphrases.

    Raises:
        VesaliusError: a prompt without exactly one mask, or an answer of several tokens.

    Source: arXiv 2104.08696, section 3.
    """
    config = config or LocateConfig()
    stopwatch = Stopwatch.start()
    prompts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    batch = encode_prompts(specimen, prompts)
    targets = answer_ids(specimen, [answer] * len(prompts))
    foils = answer_ids(specimen, [config.foil] * len(prompts)) if config.foil else None
    objective = token_objective(targets, kind=config.target, foils=foils)
    found = attribute_neurons(specimen, batch, objective=objective, options=_options(config))
    guesses, prob = best_guesses(specimen, batch, prompts, targets)
    scores = _stacked(found.attribution)
    coarse = [coarse_set(s, threshold=config.coarse_threshold) for s in scores]
    refined = _refined(coarse, config)
    return Location(
        card=_card(specimen, stopwatch, config, found),
        prompts=prompts,
        answer=answer,
        guesses=guesses,
        prob=prob,
        scores=scores,
        activations=_stacked(found.signal),
        end_value=found.end_value.cpu().numpy(),
        start_value=found.start_value.T.cpu().numpy(),
        gap=found.gap.T.cpu().numpy(),
        num_nodes=found.num_nodes.T.cpu().numpy(),
        layer_names=found.names,
        coarse=tuple(tuple(sorted(neurons)) for neurons in coarse),
        neurons=refined.neurons,
        agreement=refined.counts,
        share=refined.share,
        stability=_stability(coarse),
        verdict=_verdict(refined, coarse, config),
    )


def _card(
    specimen: Specimen, stopwatch: Stopwatch, config: LocateConfig, found: Staircase
) -> RunCard:
    return make_card(
        "neurons locate",
        stopwatch=stopwatch,
        config=config,
        model=specimen.name,
        model_fingerprint=specimen.fingerprint,
        warnings=_warnings(found, config, specimen.dtype),
    )


def _options(config: LocateConfig) -> StaircaseOptions:
    return StaircaseOptions(
        rules=config.rules(),
        tolerance=config.tolerance,
        memory_bytes=parse_bytes(config.memory),
    )


def _stacked(layers: Sequence[Tensor]) -> Float[np.ndarray, "prompt layer neuron"]:
    """One array for all layers; a narrower layer is filled up with zeros."""
    widest = max(layer.shape[1] for layer in layers)
    padded = [torch.nn.functional.pad(layer, (0, widest - layer.shape[1])) for layer in layers]
    stacked = torch.stack(padded, dim=1).cpu()
    return stacked.to(torch.promote_types(stacked.dtype, torch.float32)).numpy()


def _refined(coarse: Sequence[frozenset[Neuron]], config: LocateConfig) -> Refined:
    if config.share is not None:
        return refine(coarse, share=config.share, min_prompts=config.min_prompts)
    _, (refined,) = search_share(
        [coarse],
        start=config.start_share,
        wanted=(config.min_neurons, config.max_neurons),
        min_prompts=config.min_prompts,
    )
    return refined


def _stability(coarse: Sequence[frozenset[Neuron]]) -> float | None:
    """Mean Jaccard index of the coarse sets of every two paraphrases; None for one prompt."""
    pairs = list(combinations(coarse, 2))
    return sum(jaccard(a, b) for a, b in pairs) / len(pairs) if pairs else None


def _warnings(found: Staircase, config: LocateConfig, dtype: torch.dtype) -> list[str]:
    """Count the incomplete integrals by the rule that the climber refines them by."""
    missing = 0
    for gap, start, attribution in zip(
        found.gap, found.start_value, found.attribution, strict=True
    ):
        whole = complete(
            gap,
            end_value=found.end_value,
            start_value=start,
            attribution=attribution,
            tolerance=config.tolerance,
            dtype=dtype,
        )
        missing += int((~whole).sum())
    if not missing:
        return []
    most = int(found.num_nodes.max())
    return [
        f"{missing} of {found.gap.numel()} integrals miss more than {config.tolerance:g} of "
        f"F(1) - F(0) with up to {most} nodes: their scores are approximate"
    ]


def _verdict(refined: Refined, coarse: Sequence[frozenset[Neuron]], config: LocateConfig) -> str:
    """One plain sentence on whether the fact has a stable set."""
    if not any(coarse):
        return "No neuron raises this answer: there is nothing to locate."
    size = len(refined.neurons)
    neurons = "1 neuron" if size == 1 else f"{size} neurons"
    if len(coarse) == 1:
        return (
            f"{neurons}, found from a single prompt: paraphrases would show whether the fact or "
            "its wording is at work."
        )
    share = f"at least {refined.share:.0%} of {len(coarse)} paraphrases"
    if not size:
        return "This fact has no stable set: no neuron stands out in enough of its paraphrases."
    if size > config.max_neurons and not refined.found:
        return f"{neurons} stand out in {share}: the fact is spread out, not held by a few."
    if size < config.min_neurons and not refined.found:
        return f"Only {neurons} stands out in {share}."
    return f"{neurons} stand{'s' if size == 1 else ''} out in {share}."
