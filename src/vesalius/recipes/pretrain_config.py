"""Options of `vesalius pretrain electra`: sizes, text rows, sampling, training, by preset.

Source: Clark et al. 2020, arXiv 2003.10555, table 6, for "electra-small" and "electra-base";
Warner et al. 2024, arXiv 2412.13663, for the widths of the modern ones; "tiny" was measured on two
CPU cores.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, final

from vesalius.core.checks import check_count, check_word
from vesalius.core.errors import VesaliusError
from vesalius.methods.electra.config import ElectraOptions, electra_preset
from vesalius.models.electra import PairShape
from vesalius.training.config import FREE_ON_RESUME, TrainingOptions, check_training_options

# What a resumed command may change: it does not touch the weights.
FREE: Final = frozenset({*FREE_ON_RESUME, "device", "compile"})
OWN: Final = ("context_length", "rows_per_batch", "device")
UNKNOWN_VOCABULARY: Final = 1  # of a preset's shape: the tokenizer's takes its place


@final
@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """How to pretrain a pair: its sizes, the rows of text it reads, sampling, training.

    ``shape.vocab_size`` is that of the tokenizer, whatever stands there. A step reads
    ``training.micro_batches`` batches of ``rows_per_batch`` rows of ``context_length`` tokens.
    ``device`` "cuda" is the process's own GPU when there are several. ``preset`` and ``recipe``
    are the names that the options were made from, for the card.

    Raises:
        VesaliusError: an option that cannot be, or two that do not go together.
    """

    shape: PairShape
    context_length: int
    rows_per_batch: int
    training: TrainingOptions
    electra: ElectraOptions = field(default_factory=ElectraOptions)
    device: str = "cpu"
    preset: str = "tiny"
    recipe: str = "plain"

    def __post_init__(self) -> None:
        check_training_options(self.training)
        check_count("context_length", self.context_length, lowest=8, usual=128)
        check_count("rows_per_batch", self.rows_per_batch, lowest=1, usual=32)
        if self.context_length > self.shape.max_length:
            raise VesaliusError(
                given=f"context_length={self.context_length} with "
                f"max_length={self.shape.max_length}",
                expected="rows that are at most as long as the model can read",
                fix=f"make max_length {self.context_length} (--max-length), or the rows shorter",
            )

    def flat(self) -> dict[str, Any]:
        """Return every option by its name; no two parts have one of the same name."""
        found: dict[str, Any] = {"preset": self.preset, "recipe": self.recipe}
        found |= {name: getattr(self, name) for name in OWN}
        for part in (self.shape, self.electra, self.training):
            found |= dataclasses.asdict(part)
        return found

    @property
    def tokens_per_step(self) -> int:
        """Places of all rows of a step, padding included."""
        return self.training.micro_batches * self.rows_per_batch * self.context_length


def options_from(flat: Mapping[str, Any]) -> PretrainOptions:
    """Make the options again that `PretrainOptions.flat` took apart, from JSON too.

    Raises:
        VesaliusError: an option is missing, or cannot be.
    """

    def part(kind: Any) -> Any:
        names = [each.name for each in dataclasses.fields(kind)]
        missing = [name for name in names if name not in flat]
        if missing:
            raise VesaliusError(
                given=f"options without {', '.join(missing)}",
                expected="all options, as this release writes them",
                fix="use the release of vesalius that began the run",
            )
        values = {name: flat[name] for name in names}
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    return PretrainOptions(
        shape=part(PairShape),
        training=part(TrainingOptions),
        electra=part(ElectraOptions),
        **{name: flat[name] for name in (*OWN, "preset", "recipe")},
    )


def pretrain_preset(
    name: str = "tiny", *, recipe: str = "plain", **changes: Any
) -> PretrainOptions:
    """Return the options of a preset with a sampling recipe, and with changes by name.

    ``changes`` are any fields of `PretrainOptions`, `PairShape`, `ElectraOptions` and
    `TrainingOptions`. Fewer steps than the preset's shorten the warm-up, unless it is given.

    Raises:
        VesaliusError: an unknown preset, recipe or option, or a value that cannot be.

    >>> pretrain_preset("tiny", recipe="focal", num_steps=100).electra.focal_gamma
    1.0
    """
    check_word("preset", name, tuple(PRESETS))
    preset = PRESETS[name]
    parts = {"shape": PairShape, "training": TrainingOptions, "electra": ElectraOptions}
    owners = {f.name: part for part, kind in parts.items() for f in dataclasses.fields(kind)}
    unknown = sorted(changes.keys() - owners.keys() - set(OWN))
    if unknown:
        raise VesaliusError(
            given=f"preset {name!r} with {', '.join(unknown)}",
            expected=f"options of {', '.join(kind.__name__ for kind in parts.values())}, or "
            f"{', '.join(OWN)}",
            fix="look them up with help(...)",
        )

    def of(part: str) -> dict[str, Any]:
        return {key: value for key, value in changes.items() if owners.get(key) == part}

    training = replace(preset.training, **of("training"))
    if training.num_steps < preset.training.num_steps and "warmup_steps" not in changes:
        shorter = min(training.warmup_steps, max(1, training.num_steps // 10))
        training = replace(training, warmup_steps=shorter)
    return replace(
        preset,
        shape=replace(preset.shape, **of("shape")),
        training=training,
        electra=electra_preset(recipe, **of("electra")),
        preset=name,
        recipe=recipe,
        **{key: changes[key] for key in OWN if key in changes},
    )


def _modern(width: int, layers: int, heads: int, *, generator: int, max_length: int) -> PairShape:
    """Size a pair whose gated layers are 1.5 times as wide as the stream, as ModernBERT's."""
    return PairShape(
        architecture="modern",
        vocab_size=UNKNOWN_VOCABULARY,
        max_length=max_length,
        width=width,
        num_layers=layers,
        num_heads=heads,
        ffn_width=width * 3 // 2,
        generator_width=generator,
        generator_layers=layers,
        generator_heads=max(1, generator * heads // width),
        generator_ffn_width=generator * 3 // 2,
    )


def _electra(width: int, heads: int, *, embedding: int, generator: int) -> PairShape:
    return PairShape(
        architecture="electra",
        vocab_size=UNKNOWN_VOCABULARY,
        max_length=512,
        embedding_size=embedding,
        width=width,
        num_layers=12,
        num_heads=heads,
        ffn_width=4 * width,
        generator_width=generator,
        generator_layers=12,
        generator_heads=max(1, generator // 64),
        generator_ffn_width=4 * generator,
        dropout=0.1,
    )


def _training(num_steps: int, lr: float, **others: Any) -> TrainingOptions:
    shared: dict[str, Any] = {
        "log_every": 100,
        "evaluate_every": 5000,
        "checkpoint_every": 2000,
        "warmup_steps": 10_000,
    }
    return TrainingOptions(num_steps=num_steps, lr=lr, **(shared | others))


_CLARK: Final = {"betas": (0.9, 0.999), "schedule": "linear"}

PRESETS: Final[Mapping[str, PretrainOptions]] = {
    "tiny": PretrainOptions(
        shape=_modern(128, 2, 4, generator=64, max_length=128),
        context_length=64,
        rows_per_batch=16,
        training=_training(
            1000, 2e-3, optimizer="muon", warmup_steps=40, log_every=20, evaluate_every=100,
            checkpoint_every=100,
        ),
    ),
    "small": PretrainOptions(
        shape=_modern(256, 12, 4, generator=64, max_length=512),
        context_length=128,
        rows_per_batch=128,
        training=_training(100_000, 5e-4, warmup_steps=2000),
    ),
    "base": PretrainOptions(
        shape=_modern(768, 12, 12, generator=256, max_length=512),
        context_length=512,
        rows_per_batch=32,
        training=_training(100_000, 2e-4, micro_batches=8, warmup_steps=5000),
    ),
    "electra-small": PretrainOptions(
        shape=_electra(256, 4, embedding=128, generator=64),
        context_length=128,
        rows_per_batch=128,
        training=_training(1_000_000, 5e-4, **_CLARK),
    ),
    "electra-base": PretrainOptions(
        shape=_electra(768, 12, embedding=768, generator=256),
        context_length=512,
        rows_per_batch=32,
        training=_training(766_000, 2e-4, micro_batches=8, **_CLARK),
    ),
}  # fmt: skip
