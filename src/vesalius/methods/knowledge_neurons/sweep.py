"""Locate many facts: the task of a resumable sweep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from vesalius.core.errors import VesaliusError
from vesalius.methods.knowledge_neurons.config import LocateConfig
from vesalius.methods.knowledge_neurons.locate import locate
from vesalius.models.opening import open as open_model
from vesalius.parallel.task import AbstractTask, Worker


@final
@dataclass(frozen=True, kw_only=True)
class LocateTask(AbstractTask):
    """Score all neurons of a model for a fact and its paraphrases, one row per fact.

    An item has ``name``, ``prompts`` (with [MASK] as the gap) and ``answer``. A row has ``prob``
    (mean over the prompts), ``neurons`` as "layer:index" with their ``agreement`` in prompts,
    ``share``, ``stability`` (mean Jaccard of the coarse sets), ``gap`` (the largest, in units of
    the target), ``verdict``, and ``scores`` [layer, neuron], the mean over the prompts.

    Source: arXiv 2104.08696, sections 3.2 and 3.3.
    """

    model: str
    fingerprint: str
    revision: str = "main"
    device: str = "cpu"
    dtype: str = "float32"
    config: LocateConfig = field(default_factory=LocateConfig)

    def open(self) -> Worker:
        """Open the model, and insist that it is the one the sweep was started with.

        Raises:
            VesaliusError: it cannot be opened, or has other weights.
        """
        specimen = open_model(
            self.model, revision=self.revision, device=self.device, dtype=self.dtype
        )
        if specimen.fingerprint != self.fingerprint:
            raise VesaliusError(
                given=f"{self.model!r} with fingerprint {specimen.fingerprint}",
                expected=f"the model of this sweep, {self.fingerprint}",
                fix="give every worker the same weights",
            )

        def work(item: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
            found = locate(specimen, item["prompts"], item["answer"], config=self.config)
            return {
                "name": item["name"],
                "answer": found.answer,
                "num_prompts": len(found.prompts),
                "prob": float(found.prob.mean()),
                "neurons": [f"{layer}:{neuron}" for layer, neuron in found.neurons],
                "agreement": list(found.agreement),
                "share": found.share,
                "stability": found.stability,
                "gap": float(found.gap.max()),
                "verdict": found.verdict,
                "scores": found.mean_scores,
            }

        return work
