"""What pruned weights must equal: the whole model with those heads silenced at the attention seam.

The seam knows heads as an axis of what the kernel gives, and nothing of rows and columns: a layout
that was read wrongly cannot agree with it.

Source: seam 2 of docs/architecture.md.
"""

from collections.abc import Collection
from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.attention import attention_seam
from vesalius.models.attention_replay import replay_heads
from vesalius.models.attention_sites import attention_sites
from vesalius.models.batch import Batch
from vesalius.models.ladder import logits_row, run_model
from vesalius.models.plan import SeamKind, eager
from vesalius.models.specimen import Specimen


def confirm_logits(
    specimen: Specimen, pruned: Specimen, removed: Collection[tuple[int, int]]
) -> None:
    """Compare a model without some heads with the masked model, on the probe.

    Raises:
        VesaliusError: logits that differ by more than rounding, or a model that does not run.
    """
    batch = specimen.probe()
    wanted = masked_logits(specimen, batch, removed)
    try:
        reason = logits_difference(probe_logits(pruned, batch, seam=specimen.plan.seam), wanted)
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:160]}"
    if reason:
        classes = sorted({type(site.module).__name__ for site in attention_sites(specimen)})
        raise VesaliusError(
            given=f"{specimen.name}: pruned attention of class {', '.join(classes)} does not give "
            f"the masked model's logits on a probe ({reason})",
            expected="the same logits",
            fix="mask these heads instead of pruning them, and report the attention class",
        )


def logits_difference(actual: Tensor, wanted: Tensor) -> str:
    """Say how far apart two logits [batch, vocab] are; nothing where that is rounding."""
    share = 1e-4 if wanted.dtype in (torch.float32, torch.float64) else 5e-2  # bf16 keeps 8 bits
    scale = float(wanted.float().abs().max())
    error = float((actual.float() - wanted.float()).abs().max())
    return "" if error <= share * scale else f"{error:.3g} apart, logits up to {scale:.3g}"


def probe_logits(
    specimen: Specimen, batch: Batch, *, seam: SeamKind
) -> Float[Tensor, "batch vocab"]:
    """Run a model with its attention routed as for masking, and pick every prompt's logits row.

    The seam keeps minus infinity out of the masks: where eager attention gives padded rows that
    are no numbers, a model and its masked copy can still be compared.
    """
    modules = [part.module for block in specimen.parts.blocks for part in block.attentions]
    with ExitStack() as stack:
        if seam == "registry":
            stack.enter_context(attention_seam(specimen.model, modules=modules))
        else:
            stack.enter_context(eager(specimen.model))
        with specimen.at_rest(), torch.no_grad():
            return logits_row(run_model(specimen.model, batch).logits, batch)


def masked_logits(
    specimen: Specimen, batch: Batch, removed: Collection[tuple[int, int]]
) -> Float[Tensor, "batch vocab"]:
    """Run a model with the output of some heads, each (site, head), set to zero at the seam.

    In single precision or better, shape [batch, vocab].
    """
    sites = attention_sites(specimen)
    gates = torch.ones(1, 1, len(sites), max(site.num_heads for site in sites))
    for site, head in removed:
        gates[0, 0, site, head] = 0
    return replay_heads(specimen, batch, gates)[0]
