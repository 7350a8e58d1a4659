"""One slot at a time: what the discriminator says of every token that may be drawn there.

The tokens at the other slots of its document are those of one fixed draw. The document stands
alone in its row, which gives what it gives among others.

Source: this project, paper.md.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from vesalius.methods.electra.candidates import Candidates
from vesalius.methods.electra.objective import ReplacedTokenObjective
from vesalius.methods.electra.sampling import base_logits, log_ratio
from vesalius.models.electra import EncoderPair

Batch = Mapping[str, Tensor]


@final
@dataclass(frozen=True, kw_only=True)
class Slot:
    """A slot, its document with the other slots drawn, and the logits of every distribution.

    ``tokens`` and ``originals`` [position] are the document after and before the draw; ``column``
    is the slot's place in it. ``logits`` [sampler, vocab], the generator's first, in float32 as
    the training has them.
    """

    tokens: Int64[Tensor, " position"]
    originals: Int64[Tensor, " position"]
    position_ids: Int64[Tensor, " position"] | None
    column: int
    masked: bool
    logits: Float[Tensor, "sampler vocab"]

    @property
    def original(self) -> int:
        """The token that stood here."""
        return int(self.originals[self.column])


@final
@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the discriminator makes of each candidate at a slot.

    ``nats`` is its loss at the slot, ``slope`` the derivative of that by its logit there, and
    ``elsewhere_nats`` the sum of its losses at the document's other tokens.
    """

    nats: Float64[Tensor, " candidate"]
    slope: Float64[Tensor, " candidate"]
    elsewhere_nats: Float64[Tensor, " candidate"]


@contextmanager
def at_rest(model: nn.Module) -> Generator[None, None, None]:
    """Switch dropout, gradients and compiled code off for the body.

    Compiled bodies would be compiled anew for every length of a document.
    """
    modules = list(model.modules())
    was_training = [module.training for module in modules]
    is_compiled = any(getattr(module, "_compiled_call_impl", None) for module in modules)
    # the import behind it takes seconds, so only where something is compiled
    stance = torch.compiler.set_stance("force_eager") if is_compiled else nullcontext()
    model.eval()
    try:
        with stance, torch.no_grad():
            yield
    finally:
        for module, training in zip(modules, was_training, strict=True):
            module.training = training


def open_slots(
    objectives: Sequence[ReplacedTokenObjective],
    batch: Batch,
    chosen: Int64[Tensor, " chosen"],
    *,
    temperature: float | None = None,
) -> list[Slot]:
    """Draw once at all slots of a batch, and return the chosen ones [chosen] with their documents.

    Args:
        objectives: at least one, all over the same pair; the first one draws, each that has a
            head adds a sampler.
        batch: of `data.replaced.ReplacedBatches`.
        chosen: numbers of slots of the batch.
        temperature: instead of the batch's own or that of the options.
    """
    first = objectives[0]
    device = next(first.parameters()).device
    moved = {name: values.to(device) for name, values in batch.items()}
    if temperature is not None:
        moved["temperature"] = torch.tensor(temperature, dtype=torch.float64, device=device)
    drawn = first.draw(**{name: values for name, values in moved.items() if name != "real"})
    flat, slots = moved["input_ids"].reshape(-1), moved["slots"]
    corrupted = flat.index_copy(0, slots, drawn.candidates).view_as(moved["input_ids"])
    chosen = chosen.to(device)
    logits = _all_logits(objectives, moved, chosen).cpu()
    found: list[Slot] = []
    length = corrupted.shape[1]
    for number, flat_place in enumerate(slots[chosen].tolist()):
        row, column = divmod(flat_place, length)
        inside = _document(moved, row, column)
        positions = moved.get("position_ids")
        found.append(
            Slot(
                tokens=corrupted[row, inside],
                originals=moved["input_ids"][row, inside],
                position_ids=None if positions is None else positions[row, inside],
                column=int((inside < column).sum()),
                masked=bool(moved["masked"][chosen[number]]),
                logits=logits[:, number],
            )
        )
    return found


def judge(
    pair: EncoderPair, slot: Slot, ids: Int64[Tensor, " candidate"], *, tokens_at_once: int
) -> Verdict:
    """Ask the discriminator about each candidate [candidate] at a slot, the others held fixed.

    ``tokens_at_once`` bounds a forward pass.
    """
    size = max(1, tokens_at_once // len(slot.tokens))
    logits = [_discriminator_logits(pair, slot, part) for part in ids.split(size)]
    scores = torch.cat(logits).double().cpu()
    replaced = (slot.tokens != slot.originals).double().cpu().repeat(len(ids), 1)
    replaced[:, slot.column] = (ids != slot.original).double()
    nats = binary_cross_entropy_with_logits(scores, replaced, reduction="none")
    own = nats[:, slot.column]
    return Verdict(
        nats=own,
        slope=scores[:, slot.column].sigmoid() - replaced[:, slot.column],
        elsewhere_nats=nats.sum(1) - own,
    )


def parameter_gradients(
    pair: EncoderPair, slot: Slot, candidates: Candidates
) -> tuple[Float64[Tensor, " candidate"], float]:
    """Return the length of each candidate's gradient, [candidate], and the squared length of E.

    The gradient is that of the loss at the slot by every parameter it reaches, shared embeddings
    included; E is the sum of q times it. One backward pass for each candidate.
    """
    weights = [weight for weight in pair.parameters() if weight.requires_grad]
    halves = 1 if candidates.is_exact else 2
    means = [[torch.zeros_like(weight) for weight in weights] for _ in range(halves)]
    squares: list[float] = []
    for number, token in enumerate(candidates.ids):
        with torch.enable_grad():
            score = _discriminator_logits(pair, slot, token.reshape(1))[0, slot.column]
            loss = binary_cross_entropy_with_logits(
                score, (token != slot.original).to(score), reduction="none"
            )
        slopes: tuple[Any, ...] = torch.autograd.grad(loss, weights, allow_unused=True)
        squares.append(sum(float(s.double().square().sum()) for s in slopes if s is not None))
        for half, mean in enumerate(means):
            mass = float(candidates.mass[half, number])
            for total, slope in zip(mean, slopes, strict=True):
                if slope is not None and mass:
                    total.add_(slope, alpha=mass)
    products = zip(means[0], means[-1], strict=True)
    together = sum(float((one.double() * other.double()).sum()) for one, other in products)
    return torch.tensor(squares, dtype=torch.float64).sqrt(), together


def _discriminator_logits(
    pair: EncoderPair, slot: Slot, ids: Int64[Tensor, " candidate"]
) -> Float[Tensor, "candidate position"]:
    rows = slot.tokens.repeat(len(ids), 1)
    rows[:, slot.column] = ids.to(rows.device)
    positions = slot.position_ids
    if positions is not None:
        positions = positions.expand(len(ids), -1)
    return pair.discriminator_logits(rows, position_ids=positions)


def _all_logits(
    objectives: Sequence[ReplacedTokenObjective], batch: Batch, chosen: Int64[Tensor, " chosen"]
) -> Float[Tensor, "sampler chosen vocab"]:
    """Return what q and each sampler are the softmax of, at the chosen slots."""
    pair, options = objectives[0].pair, objectives[0].options
    flat, slots = batch["input_ids"].reshape(-1), batch["slots"]
    originals = flat.index_select(0, slots)
    shown = flat.index_copy(
        0, slots, torch.where(batch["masked"], pair.special.mask, originals)
    ).view_as(batch["input_ids"])
    places = {name: batch[name] for name in ("position_ids", "attention_mask") if name in batch}
    hidden, states = pair.generator_states(shown, slots[chosen], **places)
    base = base_logits(
        (states @ pair.output_weight.T).float() + pair.output_bias,
        originals[chosen],
        temperature=batch.get("temperature", torch.tensor(options.temperature)),
        exclude=options.exclude_original,
    )
    found = [base]
    for each in objectives:
        if each.head is not None:
            scores = (each.head(hidden) @ pair.output_weight.T).float() + each.head.bias
            found.append(base + log_ratio(scores, options=each.options))
    return torch.stack(found)


def _document(batch: Batch, row: int, column: int) -> Int64[Tensor, " position"]:
    """Return the places of a row that see a column: its document, without padding."""
    mask = batch.get("attention_mask")
    inside = (
        batch["real"][row] if mask is None else batch["real"][row] & (mask[row, 0, column] == 0)
    )
    return inside.nonzero().squeeze(-1)
