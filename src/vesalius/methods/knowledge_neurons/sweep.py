"""Locate many facts: the task of a resumable sweep."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from vesalius.methods.knowledge_neurons.config import ACTIVATION_THRESHOLD, SEQUENCE, LocateConfig
from vesalius.methods.knowledge_neurons.locate import locate
from vesalius.methods.knowledge_neurons.refine import Neuron, coarse_set
from vesalius.methods.knowledge_neurons.result import Location
from vesalius.models.opening import open_same
from vesalius.models.reading import read_answers
from vesalius.models.specimen import Specimen
from vesalius.parallel.task import AbstractTask, Worker


@final
@dataclass(frozen=True, kw_only=True)
class LocateTask(AbstractTask):
    """Score all neurons of a model for a fact and its paraphrases, one row per fact.

    An item has ``name``, ``prompts`` (with [MASK] as the gap) and ``answer``, and may have
    ``relation`` and ``subject``. A row has those, and: ``prompt_probs`` of the answer with their
    mean ``prob``; ``answered``, the share of the prompts whose best answer is the right one;
    ``neurons`` as "layer:index" with their ``agreement`` in prompts, ``share``, ``stability`` (mean
    Jaccard of the coarse sets); ``coarse``, one list of neurons per prompt, and
    ``activation_coarse``, those of the paper's baseline that takes a neuron's value for its score;
    ``gap`` (the largest, in units of the target), ``verdict``, ``num_layers``, and ``scores``
    [layer, neuron], the mean over the prompts, unless ``keep_scores`` is off: for many facts of a
    large model they are most of the table.

    Source: arXiv 2104.08696, sections 3.2 and 3.3.
    """

    model: str
    fingerprint: str
    revision: str = "main"
    device: str = "cpu"
    dtype: str = "float32"
    config: LocateConfig = field(default_factory=LocateConfig)
    keep_scores: bool = True

    def open(self) -> Worker:
        """Open the model, and insist that it is the one the sweep was started with.

        Raises:
            VesaliusError: it cannot be opened, or has other weights.
        """
        specimen = open_same(
            self.model,
            fingerprint=self.fingerprint,
            revision=self.revision,
            device=self.device,
            dtype=self.dtype,
        )

        def work(item: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
            found = locate(specimen, item["prompts"], item["answer"], config=self.config)
            row = _row(item, found, answered=_answered(specimen, found, self.config))
            return row | ({"scores": found.mean_scores} if self.keep_scores else {})

        return work


def _row(item: Mapping[str, Any], found: Location, *, answered: float) -> dict[str, Any]:
    baseline = [coarse_set(a, threshold=ACTIVATION_THRESHOLD) for a in found.activations]
    return {
        "name": item["name"],
        "relation": item.get("relation", ""),
        "subject": item.get("subject", ""),
        "answer": found.answer,
        "prompts": list(found.prompts),
        "num_prompts": len(found.prompts),
        "prob": float(found.prob.mean()),
        "prompt_probs": found.prob,
        "answered": answered,
        "neurons": _names(found.neurons),
        "agreement": list(found.agreement),
        "share": found.share,
        "stability": found.stability,
        "coarse": [_names(neurons) for neurons in found.coarse],
        "activation_coarse": [_names(sorted(neurons)) for neurons in baseline],
        "gap": float(found.gap.max()),
        "verdict": found.verdict,
        "num_layers": len(found.layer_names),
    }


def _names(neurons: Iterable[Neuron]) -> list[str]:
    return [f"{layer}:{neuron}" for layer, neuron in neurons]


def _answered(specimen: Specimen, found: Location, config: LocateConfig) -> float:
    """The share of the prompts whose best answer is the right one, in all of its tokens."""
    if config.target == SEQUENCE:
        answers = [found.answer] * len(found.prompts)
        right = read_answers(specimen, found.prompts, answers).rank == 1
        return float(right.double().mean())
    best = [guess.prob for guess in found.guesses if guess.rank == 1]
    right = [float(p) >= b for p, b in zip(found.prob, best, strict=True)]
    return sum(right) / len(right)
