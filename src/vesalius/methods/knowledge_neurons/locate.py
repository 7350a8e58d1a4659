"""Locate the feed-forward neurons that hold a fact."""

from collections.abc import Sequence
from itertools import combinations

from vesalius.core.card import RunCard, Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.methods.knowledge_neurons.attribute import Attributed, attribute_answers
from vesalius.methods.knowledge_neurons.config import SEQUENCE, LocateConfig, locate_preset
from vesalius.methods.knowledge_neurons.guesses import best_guesses
from vesalius.methods.knowledge_neurons.refine import (
    Neuron,
    Refined,
    coarse_set,
    refine,
    search_share,
)
from vesalius.methods.knowledge_neurons.result import Location
from vesalius.models.answers import encode_answers
from vesalius.models.specimen import Specimen
from vesalius.numerics.statistics import jaccard


def locate(
    specimen: Specimen,
    prompts: str | Sequence[str],
    answer: str,
    *,
    config: LocateConfig | None = None,
    preset: str | None = None,
) -> Location:
    """Score every feed-forward neuron for a fact, and keep those that its paraphrases agree on.

    Args:
        specimen: the opened model.
        prompts: one cloze prompt or several paraphrases, with ``[MASK]`` where the answer belongs.
        answer: one token; several for the target ``sequence-log-probability``.
        config: target, quadrature and thresholds; the thresholds are the paper's.
        preset: instead of ``config``, the name of one; see :func:`locate_preset`.

    Returns:
        Scores [prompt, layer, neuron], sets, completeness gap and agreement of the paraphrases.

    Raises:
        VesaliusError: a prompt without exactly one mask, an answer of several tokens, or both a
            config and a preset.

    Source: arXiv 2104.08696, section 3.
    """
    config = _chosen(config, preset)
    stopwatch = Stopwatch.start()
    prompts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    several = config.target == SEQUENCE
    answers = [answer] * len(prompts)
    steps = encode_answers(specimen, prompts, answers, several_tokens=several, pad_to=config.pad_to)
    found = attribute_answers(specimen, steps, config)
    guesses, prob = best_guesses(specimen, steps, prompts, logits=found.logits)
    chosen_by = found.activations if config.selector == "activation" else found.scores
    coarse = [coarse_set(s, threshold=config.coarse_threshold) for s in chosen_by]
    refined = _refined(coarse, config)
    return Location(
        card=_card(specimen, stopwatch, config, found),
        prompts=prompts,
        answer=answer,
        guesses=guesses,
        prob=prob,
        scores=found.scores,
        activations=found.activations,
        end_value=found.end_value,
        start_value=found.start_value,
        gap=found.gap,
        num_nodes=found.num_nodes,
        layer_names=found.layer_names,
        coarse=tuple(tuple(sorted(neurons)) for neurons in coarse),
        neurons=refined.neurons,
        agreement=refined.counts,
        share=refined.share,
        stability=_stability(coarse),
        verdict=_verdict(refined, coarse, config),
    )


def _chosen(config: LocateConfig | None, preset: str | None) -> LocateConfig:
    if config is not None and preset is not None:
        raise VesaliusError(
            given=f"a config and preset={preset!r}",
            expected="at most one of the two",
            fix=f"pass config=locate_preset({preset!r}, ...) with the changes you want",
        )
    return config or locate_preset(preset or "default")


def _card(
    specimen: Specimen, stopwatch: Stopwatch, config: LocateConfig, found: Attributed
) -> RunCard:
    return make_card(
        "neurons locate",
        stopwatch=stopwatch,
        config=config,
        model=specimen.name,
        model_fingerprint=specimen.fingerprint,
        warnings=_warnings(found, config),
    )


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


def _warnings(found: Attributed, config: LocateConfig) -> list[str]:
    if not found.num_incomplete:
        return []
    most = int(found.num_nodes.max())
    return [
        f"{found.num_incomplete} of {found.num_integrals} integrals miss more than "
        f"{config.tolerance:g} of F(1) - F(0) with up to {most} nodes: their scores are approximate"
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
