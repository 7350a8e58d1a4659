"""The arms of the comparison, and what they have in common: sizes, steps, rates."""

from dataclasses import dataclass
from typing import Final

from corpus import ROW

from vesalius.methods.electra.config import ElectraOptions, electra_preset
from vesalius.models.electra import PairShape
from vesalius.training.config import TrainingOptions

PLAIN, CONTROL, BOTH = "plain", "temperature", "hardness+focal"
ARMS: Final = (PLAIN, BOTH, CONTROL, "focal", "hardness-loss", "hardness-distribution")
MAIN: Final = ARMS[:3]  # with five seeds
WITH_HEAD: Final = (BOTH, "hardness-loss", "hardness-distribution")
CONTROLS: Final = (PLAIN, CONTROL)
SEEDS: Final = (0, 1, 2, 3, 4)
THIRD_PARTY: Final = 99  # the seed of a plain pair whose generator corrupts for all arms
TOLD: Final = {
    PLAIN: "plain ELECTRA",
    CONTROL: "temperature 1.3",
    BOTH: "hardness + focal",
    "focal": "focal",
    "hardness-loss": "hardness, loss",
    "hardness-distribution": "hardness, distribution",
}
ROWS_PER_BATCH: Final = 32
MAX_LENGTH: Final = 256  # rotary positions: longer than a training row, for the tasks afterwards


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How long a run is, how often it logs, and how large the networks are."""

    num_steps: int = 2000
    warmup_steps: int = 100
    log_every: int = 25
    checkpoint_every: int = 500
    width: int = 128
    num_layers: int = 3
    compiles: bool = True  # needs a C++ compiler; a third faster


FULL: Final = Scale()
QUICK: Final = Scale(
    num_steps=20,
    warmup_steps=5,
    log_every=1,
    checkpoint_every=10,
    width=32,
    num_layers=1,
    compiles=False,
)


def options_of(arm: str) -> ElectraOptions:
    """Give the options of an arm: the preset of its name."""
    return electra_preset(arm)


def training_of(scale: Scale, seed: int) -> TrainingOptions:
    """Give the options of the training loop, the same for all arms."""
    return TrainingOptions(
        num_steps=scale.num_steps,
        warmup_steps=scale.warmup_steps,
        log_every=scale.log_every,
        checkpoint_every=scale.checkpoint_every,
        schedule="linear",
        lr=2e-3,
        betas=(0.9, 0.98),
        weight_decay=0.01,
        max_grad_norm=1.0,
        autocast_bf16=True,
        seed=seed,
    )


def shape_of(scale: Scale, vocab_size: int) -> PairShape:
    """Give the sizes of the pair: the generator is half as wide as the discriminator."""
    return PairShape(
        architecture="modern",
        vocab_size=vocab_size,
        max_length=MAX_LENGTH,
        width=scale.width,
        num_layers=scale.num_layers,
        num_heads=scale.width // 32,
        ffn_width=scale.width * 11 // 4,  # gated: the weights of a plain one of 4 x width
        generator_width=scale.width // 2,
        generator_layers=scale.num_layers,
        generator_heads=max(1, scale.width // 64),
        generator_ffn_width=scale.width * 11 // 8,
        sharing="tied",
    )


assert ROW <= MAX_LENGTH
