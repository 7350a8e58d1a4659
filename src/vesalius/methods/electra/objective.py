"""The joint objective: one forward pass of generator and discriminator, one loss of several terms.

Source: Clark et al. 2020, arXiv 2003.10555; arXiv 2106.13715 for hardness and focal loss;
paper.md maps each formula to its function.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from vesalius.methods.electra.config import ElectraOptions
from vesalius.methods.electra.fused import draw_replacements_fused, is_worth_fusing
from vesalius.methods.electra.sampling import (
    Draw,
    HeadScores,
    draw_replacements,
    importance_weights,
)
from vesalius.models.electra import EncoderPair, HardnessHead

WORST_MEAN_WEIGHT: Final = (0.9, 1.1)  # outside, the weights no longer keep the objective
STATISTICS: Final = (
    "slots",
    "correct",
    "prob_original",
    "sampler_prob_original",
    "first_choice",
    "entropy_nats",
    "generator_nats",
    "weight",
    "unmasked",
    "masked_nats",
    "unmasked_nats",
    "predicted",
    "hardness",
    "predicted_squared",
    "hardness_squared",
    "product",
)
MEANINGS: Final[Mapping[str, str]] = {
    "correct_samples": "share of drawn replacements that are the original token",
    "generator_accuracy": "share of slots where the generator's first choice is the original",
    "generator_prob_original": "mean probability of the original under the generator",
    "sampler_prob_original": "mean probability of the original under the sampler",
    "generator_entropy_nats": "mean entropy of the generator at the slots, in nats",
    "generator_nats": "cross entropy of the generator at the slots, in nats",
    "mean_weight": "mean importance weight before it is cut: 1 when the sampler is sound",
    "max_weight": "largest importance weight before it is cut",
    "hardness_correlation": "correlation of predicted and true hardness of the drawn tokens",
    "discriminator_nats_masked": "discriminator loss at the slots, unweighted, in nats",
    "discriminator_nats_unmasked": "discriminator loss at all other tokens, in nats",
}


@final
@dataclass(frozen=True, kw_only=True)
class ElectraOutput:
    """What the training loop takes: the terms of the loss, and statistics that add up.

    ``terms``: generator, discriminator and, with a head, hardness, each a mean times its weight.
    """

    terms: Float[Tensor, " term"]
    sums: Float[Tensor, " statistic"]
    maxima: Float[Tensor, " maximum"]

    @property
    def loss(self) -> Float[Tensor, ""]:
        """The loss of this batch alone, [], as its own mean."""
        return self.terms.sum()


@final
class ReplacedTokenObjective(nn.Module):
    """Train a pair: mask, draw replacements, tell them from the originals.

    Args:
        pair: generator and discriminator.
        options: sampling, weights, losses.
    """

    def __init__(self, pair: EncoderPair, *, options: ElectraOptions) -> None:
        super().__init__()
        self.pair, self.options = pair, options
        shape = pair.shape
        self.head = (
            HardnessHead(
                width=shape.generator_width,
                embedding_size=shape.shared_size,
                vocab_size=shape.vocab_size,
            )
            if options.has_head
            else None
        )

    def forward(
        self,
        *,
        input_ids: Int64[Tensor, "batch position"],
        slots: Int64[Tensor, " slot"],
        masked: Bool[Tensor, " slot"],
        uniforms: Float64[Tensor, " slot"],
        real: Bool[Tensor, "batch position"],
        position_ids: Int64[Tensor, "batch position"] | None = None,
        attention_mask: Float[Tensor, "batch 1 query key"] | None = None,
        temperature: Float64[Tensor, ""] | None = None,
    ) -> ElectraOutput:
        """Return the terms of the loss of a batch of `data.replaced.ReplacedBatches`.

        Shapes: as annotated; ``slots`` are places in the flattened batch. ``temperature`` []
        stands in for that of the options.
        """
        flat = input_ids.reshape(-1)
        originals = flat.index_select(0, slots)
        drawn = self.draw(
            input_ids,
            slots=slots,
            masked=masked,
            uniforms=uniforms,
            position_ids=position_ids,
            attention_mask=attention_mask,
            temperature=temperature,
        )
        corrupted = flat.index_copy(0, slots, drawn.candidates).view_as(input_ids)
        logits = self.pair.discriminator_logits(
            corrupted, position_ids=position_ids, attention_mask=attention_mask
        ).float()
        nats = binary_cross_entropy_with_logits(
            logits, (corrupted != input_ids).float(), reduction="none"
        )
        at_slots = nats.reshape(-1).index_select(0, slots)
        weights = importance_weights(drawn.log_weight, options=self.options)
        num_real = real.sum()
        everywhere = (nats * real).sum()
        terms = [
            drawn.generator_loss.mean(),
            # the slots count once in the sum over all tokens; the weights correct them there
            self.options.discriminator_weight
            * (everywhere + ((weights - 1) * at_slots).sum())
            / num_real,
        ]
        hardness = self._hardness(at_slots.detach())
        if drawn.predicted is not None:
            loss = self._head_loss(drawn, hardness)
            terms.append(self.options.hardness_weight * loss)
        correct = drawn.candidates == originals
        sums, maxima = self._statistics(
            drawn, correct, hardness, at_slots.detach(), everywhere.detach(), num_real
        )
        return ElectraOutput(terms=torch.stack(terms), sums=sums, maxima=maxima)

    def draw(
        self,
        input_ids: Int64[Tensor, "batch position"],
        *,
        slots: Int64[Tensor, " slot"],
        masked: Bool[Tensor, " slot"],
        uniforms: Float64[Tensor, " slot"],
        position_ids: Int64[Tensor, "batch position"] | None = None,
        attention_mask: Float[Tensor, "batch 1 query key"] | None = None,
        temperature: Float64[Tensor, ""] | None = None,
    ) -> Draw:
        """Mask a batch, run the generator and draw a replacement for every slot."""
        flat, pair = input_ids.reshape(-1), self.pair
        originals = flat.index_select(0, slots)
        shown = torch.where(masked, pair.special.mask, originals)
        hidden, states = pair.generator_states(
            flat.index_copy(0, slots, shown).view_as(input_ids),
            slots,
            position_ids=position_ids,
            attention_mask=attention_mask,
        )
        head = None
        if self.head is not None:
            seen = hidden.detach() if self.options.detach_head else hidden
            head = HeadScores(states=self.head(seen), bias=self.head.bias)
        fused = is_worth_fusing(len(slots), pair.shape.vocab_size)
        return (draw_replacements_fused if fused else draw_replacements)(
            states,
            pair.output_weight,
            pair.output_bias,
            originals=originals,
            uniforms=uniforms,
            options=self.options,
            head=head,
            temperature=self.options.temperature if temperature is None else temperature,
        )

    def count_terms(self, batch: Mapping[str, Tensor]) -> tuple[int, ...]:
        """Count what each term is a mean over: slots, tokens and, with a head, slots again.

        Shapes: slots [slot], real [batch, position].
        """
        num_slots, num_real = len(batch["slots"]), self.count_tokens(batch)
        return (num_slots, num_real, num_slots) if self.head else (num_slots, num_real)

    def count_tokens(self, batch: Mapping[str, Tensor]) -> int:
        """Count the tokens of a batch that are no padding, from `real` [batch, position]."""
        return int(batch["real"].sum())

    def describe(
        self, sums: Float[Tensor, " statistic"], maxima: Float[Tensor, " maximum"]
    ) -> dict[str, float]:
        """Turn added statistics into the numbers that are logged.

        Shapes: sums [statistic], in the order of `STATISTICS`; maxima [1].
        """
        found = dict(zip(STATISTICS, sums.double().tolist(), strict=True))
        count = found["slots"]
        means = {name: value / count for name, value in found.items()}
        described = {
            "correct_samples": means["correct"],
            "generator_accuracy": means["first_choice"],
            "generator_prob_original": means["prob_original"],
            "sampler_prob_original": means["sampler_prob_original"],
            "generator_entropy_nats": means["entropy_nats"],
            "generator_nats": means["generator_nats"],
            "discriminator_nats_masked": means["masked_nats"],
            "discriminator_nats_unmasked": found["unmasked_nats"] / max(1.0, found["unmasked"]),
        }
        if self.head is None:
            return described
        spread = (means["predicted_squared"] - means["predicted"] ** 2) * (
            means["hardness_squared"] - means["hardness"] ** 2
        )
        together = means["product"] - means["predicted"] * means["hardness"]
        return described | {
            "mean_weight": means["weight"],
            "max_weight": float(maxima[0]),
            "hardness_correlation": together / spread**0.5 if spread > 0 else 0.0,
        }

    def describe_names(self) -> Mapping[str, str]:
        """Say in one line what each number of `describe` means."""
        return MEANINGS

    def alarms(self, measures: Mapping[str, float]) -> list[str]:
        """Name what has gone wrong, if anything: weights that no longer average to one."""
        mean = measures.get("mean_weight", 1.0)
        low, high = WORST_MEAN_WEIGHT
        if low <= mean <= high:
            return []
        return [f"the importance weights average {mean:.3f}, not 1: the sampler misses tokens"]

    def _hardness(self, nats: Float[Tensor, " slot"]) -> Float[Tensor, " slot"]:
        """What the head should predict: the loss, or the size of its gradient at the logit."""
        return nats if self.options.hardness == "loss" else -torch.expm1(-nats)

    def _head_loss(self, drawn: Draw, hardness: Float[Tensor, " slot"]) -> Float[Tensor, ""]:
        """Return the head's loss, a mean over the slots.

        Source: this project, paper.md: the square, or the cross entropy from q l to p_S, each from
        the drawn token alone.
        """
        assert drawn.predicted is not None
        if self.options.sampler == "hardness-loss":
            return (drawn.predicted - hardness).square().mean()
        weights = drawn.log_weight.exp().clamp_max(self.options.max_weight)
        return -(weights * hardness * drawn.predicted).mean()

    @torch.no_grad()
    def _statistics(
        self,
        drawn: Draw,
        correct: Bool[Tensor, " slot"],
        hardness: Float[Tensor, " slot"],
        masked_nats: Float[Tensor, " slot"],
        everywhere: Float[Tensor, ""],
        num_real: Int64[Tensor, ""],
    ) -> tuple[Float[Tensor, " statistic"], Float[Tensor, " maximum"]]:
        weight = drawn.log_weight.exp()
        predicted = torch.zeros_like(hardness)
        if drawn.predicted is not None:
            predicted = drawn.predicted.detach()
            if self.options.sampler == "hardness-distribution":
                predicted = 1 / weight  # p_S / q, which is proportional to l at the optimum
        rows = [
            torch.ones_like(weight),
            correct,
            drawn.prob_original,
            drawn.sampler_prob_original,
            drawn.is_first_choice,
            drawn.entropy_nats,
            -drawn.prob_original.clamp_min(torch.finfo(torch.float32).tiny).log(),
            weight,
            None,
            masked_nats,
            None,
            predicted,
            hardness,
            predicted.square(),
            hardness.square(),
            predicted * hardness,
        ]
        masked_sum = masked_nats.sum()
        rest = iter((num_real - len(weight), everywhere - masked_sum))
        sums = [next(rest) if row is None else row.sum() for row in rows]
        return torch.stack([value.float() for value in sums]), weight.max().reshape(1).float()
