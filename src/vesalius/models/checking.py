"""``vesalius check``: the parts that were found, and whether the seams give the model's numbers."""

from dataclasses import dataclass
from typing import Any, final

import torch

from vesalius.models.attention import attention_seam, tapped
from vesalius.models.ladder import logits_row, run_model
from vesalius.models.neurons import check_fired, neurons_replaced
from vesalius.models.plan import eager
from vesalius.models.specimen import Specimen


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What ``vesalius check`` found out about a model.

    Differences are max |seam - eager| over the logits of the probe, as a share of max |eager|.
    """

    name: str
    architecture: str
    task: str
    fingerprint: str
    num_parameters: int
    num_layers: int
    rows: tuple[dict[str, Any], ...]
    attention_seam: str
    neuron_difference: float
    attention_difference: float | None
    tolerance: float
    split_block: bool
    target_row: bool
    last_row_replay: bool
    unclimbable: str

    @property
    def supported(self) -> bool:
        """Whether both attribution methods run on this model, with the model's own numbers."""
        differences = (self.neuron_difference, self.attention_difference or 0.0)
        agree = all(difference <= self.tolerance for difference in differences)
        return agree and not self.unclimbable and self.attention_seam != "none"


def check(specimen: Specimen) -> CheckReport:
    """Lay out the parts of a model and compare its logits through the seams with eager ones.

    Raises:
        VesaliusError: parts that cannot be found, or hooks that did not fire as planned.

    Source: seam 3 of docs/architecture.md. Shapes do not change hands.
    """
    plan, parts = specimen.plan, specimen.parts
    splits = [block.name in plan.splits for block in parts.blocks]
    return CheckReport(
        name=specimen.name,
        architecture=type(specimen.model).__name__,
        task=specimen.task,
        fingerprint=specimen.fingerprint,
        num_parameters=sum(p.numel() for p in specimen.model.parameters()),
        num_layers=specimen.num_layers,
        rows=tuple(_row(specimen, index) for index in range(specimen.num_layers)),
        attention_seam=plan.seam,
        neuron_difference=_neuron_difference(specimen),
        attention_difference=_attention_difference(specimen) if plan.seam != "none" else None,
        tolerance=1e-4 if specimen.dtype in (torch.float32, torch.float64) else 3e-2,
        split_block=all(splits),
        target_row=plan.row_top,
        last_row_replay=plan.last_row,
        unclimbable=plan.unclimbable,
    )


def _row(specimen: Specimen, index: int) -> dict[str, Any]:
    part = specimen.plan.calls[index]
    return {
        "layer": index,
        "block": part.name,
        "feed_forward": part.feed_forward.name.removeprefix(f"{part.name}."),
        "d_ff": part.feed_forward.num_inputs,
        "stored": "[in, out]" if part.feed_forward.input_axis == 0 else "[out, in]",
        "attention": ", ".join(a.name.removeprefix(f"{part.name}.") for a in part.attentions),
        "heads": max(a.num_heads for a in part.attentions),
    }


def _neuron_difference(specimen: Specimen) -> float:
    """Logits with every neuron passed through the seam unchanged, against untouched ones."""
    batch, model = specimen.probe(), specimen.model
    with specimen.at_rest(), torch.no_grad():
        plain = logits_row(run_model(model, batch).logits, batch)
        with neurons_replaced(
            specimen.parts, lambda _layer, neurons: neurons, num_prompts=batch.num_prompts
        ) as fired:
            seen = logits_row(run_model(model, batch).logits, batch)
    check_fired(fired, specimen.num_layers, model)
    return _difference(seen, plain)


def _attention_difference(specimen: Specimen) -> float:
    """Logits as attention is attributed, against the model's own.

    For registered classes: A V recomputed from the seam's probabilities, against the eager model.
    For watched ones: the eager model against the kernel it was loaded with.
    """
    batch, model = specimen.probe(), specimen.model
    modules = [a.module for part in specimen.parts.blocks for a in part.attentions]
    with specimen.at_rest(), torch.no_grad():
        with eager(model):
            plain = logits_row(run_model(model, batch).logits, batch)
        if specimen.plan.seam == "softmax":
            return _difference(plain, logits_row(run_model(model, batch).logits, batch))
        with (
            attention_seam(model, modules=modules),
            tapped(dict.fromkeys(modules, lambda call: call.attend(call.weights()))),
        ):
            seen = logits_row(run_model(model, batch).logits, batch)
    return _difference(seen, plain)


def _difference(seen: torch.Tensor, plain: torch.Tensor) -> float:
    return float((seen - plain).abs().max() / plain.abs().max().clamp_min(1e-30))
