"""What the knowledge-neuron verbs return."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from vesalius.core.result import AbstractResult, register_result
from vesalius.methods.knowledge_neurons.refine import Neuron


@final
@dataclass(frozen=True, kw_only=True)
class Guess:
    """One of a model's best answers to a prompt."""

    prompt: str
    rank: int
    token: str
    prob: float


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Location(AbstractResult):
    """Where a model holds a fact: the score of every neuron, and the set that paraphrases agree on.

    ``scores`` and ``activations`` [prompt, layer, neuron] are attributions (in units of the
    target) and clean values; ``end_value`` [prompt] is the target F(1), ``start_value``
    [prompt, layer] F(0) with that layer's neurons at zero, ``gap`` [prompt, layer] what the sum of
    a layer's scores misses of F(1) - F(0), ``num_nodes`` [prompt, layer] the nodes it took.
    ``prob`` [prompt] is the answer's probability. ``coarse`` holds one set per prompt.
    """

    kind: ClassVar[str] = "knowledge_neurons.locate"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("knowledge_neurons",)

    prompts: tuple[str, ...]
    answer: str
    guesses: tuple[Guess, ...]
    prob: Float[np.ndarray, " prompt"]
    scores: Float[np.ndarray, "prompt layer neuron"]
    activations: Float[np.ndarray, "prompt layer neuron"]
    end_value: Float[np.ndarray, " prompt"]
    start_value: Float[np.ndarray, "prompt layer"]
    gap: Float[np.ndarray, "prompt layer"]
    num_nodes: Int[np.ndarray, "prompt layer"]
    layer_names: tuple[str, ...]
    coarse: tuple[tuple[Neuron, ...], ...]
    neurons: tuple[Neuron, ...]
    agreement: tuple[int, ...]
    share: float
    stability: float | None
    verdict: str

    @property
    def mean_scores(self) -> Float[np.ndarray, "layer neuron"]:
        """Scores averaged over the prompts, shape [layer, neuron]."""
        return self.scores.mean(axis=0)

    def to_table(self) -> pa.Table:
        """The refined neurons with layer, index, mean score, mean activation and agreement.

        Source: arXiv 2104.08696, section 3.3.
        """
        layers = np.array([layer for layer, _ in self.neurons], dtype=np.int64)
        indices = np.array([index for _, index in self.neurons], dtype=np.int64)
        return pa.table(
            {
                "layer": layers,
                "neuron": indices,
                "score": self.mean_scores[layers, indices],
                "activation": self.activations.mean(axis=0)[layers, indices],
                "prompts": np.array(self.agreement, dtype=np.int64),
            }
        )

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw the layer x neuron map; returns matplotlib Axes.

        Source: this project, plots/neuron_map.py.
        """
        from vesalius.methods.knowledge_neurons.plot import plot_location

        return plot_location(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page; see :func:`write_report`.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.knowledge_neurons.report import write_report

        return write_report([(self, ())], path, force=force)


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Intervention(AbstractResult):
    """What happens to an answer when neurons are scaled at the row where it is read.

    ``factor`` 0 suppresses, 2 amplifies. ``prob_before`` and ``prob_after`` [prompt] are the
    answer's probabilities; ``control_after`` [control, prompt] those after the same was done to
    random neurons, as many in each layer. ``change`` is mean(after - before) / mean(before), and
    ``control_change`` [control] the same of each control set.
    """

    kind: ClassVar[str] = "knowledge_neurons.intervene"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("knowledge_neurons",)

    prompts: tuple[str, ...]
    answer: str
    neurons: tuple[Neuron, ...]
    factor: float
    prob_before: Float[np.ndarray, " prompt"]
    prob_after: Float[np.ndarray, " prompt"]
    control_after: Float[np.ndarray, "control prompt"]
    change: float
    control_change: Float[np.ndarray, " control"]
    guesses_before: tuple[Guess, ...]
    guesses_after: tuple[Guess, ...]

    @property
    def control_mean(self) -> float:
        """The mean relative change of the control sets; 0 where there are none."""
        return float(self.control_change.mean()) if len(self.control_change) else 0.0

    def plot(self, ax: Any = None) -> Any:
        """Draw before and after beside the controls; returns matplotlib Axes.

        Source: this project, plots/bars.py.
        """
        from vesalius.methods.knowledge_neurons.plot import plot_interventions

        return plot_interventions([self], ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page; see :func:`write_intervention`.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.knowledge_neurons.report import write_intervention

        return write_intervention(self, path, force=force)


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence(AbstractResult):
    """How far a located set is to be believed: its effect against its size, beside two controls.

    ``ranking`` are the neurons by mean score; the first ``sizes[i]`` of them make set i.
    ``factors`` [factor] are what the sets were multiplied by. ``prob_before`` [prompt] and
    ``prob_after`` [factor, size, prompt] are the answer's probabilities; ``random_after`` and
    ``active_after`` [factor, size, control, prompt] those with as many random neurons of the same
    layers, and with others of these layers that are about as active. ``change``, ``low`` and
    ``high`` [factor, size] are mean(after - before) / mean(before) and its bootstrap interval over
    the prompts (not a number for one prompt). ``random_*`` and ``active_*`` [factor, size] are the
    mean change of the control sets and the 2.5 % and 97.5 % quantiles over them. ``num_set`` is the
    size of the located set, ``stability`` and ``max_gap`` are the location's.
    """

    kind: ClassVar[str] = "knowledge_neurons.evidence"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("knowledge_neurons",)

    prompts: tuple[str, ...]
    answer: str
    ranking: tuple[Neuron, ...]
    num_set: int
    sizes: Int[np.ndarray, " size"]
    factors: Float[np.ndarray, " factor"]
    prob_before: Float[np.ndarray, " prompt"]
    prob_after: Float[np.ndarray, "factor size prompt"]
    random_after: Float[np.ndarray, "factor size control prompt"]
    active_after: Float[np.ndarray, "factor size control prompt"]
    change: Float[np.ndarray, "factor size"]
    low: Float[np.ndarray, "factor size"]
    high: Float[np.ndarray, "factor size"]
    random_low: Float[np.ndarray, "factor size"]
    random_mean: Float[np.ndarray, "factor size"]
    random_high: Float[np.ndarray, "factor size"]
    active_low: Float[np.ndarray, "factor size"]
    active_mean: Float[np.ndarray, "factor size"]
    active_high: Float[np.ndarray, "factor size"]
    stability: float | None
    max_gap: float
    verdict: str

    def to_table(self) -> pa.Table:
        """One row for each factor and size: the change, its interval, and both controls.

        Source: this project.
        """
        num_factors, num_sizes = self.change.shape
        columns = (
            *("change", "low", "high", "random_low", "random_mean", "random_high"),
            *("active_low", "active_mean", "active_high"),
        )
        return pa.table(
            {
                "factor": np.repeat(self.factors, num_sizes),
                "size": np.tile(self.sizes, num_factors),
            }
            | {name: getattr(self, name).ravel() for name in columns}
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the suppressed answer against the size of the set; returns matplotlib Axes.

        Source: this project, plots/effect_curve.py.
        """
        from vesalius.methods.knowledge_neurons.plot import plot_evidence

        return plot_evidence(self, ax=ax)
