"""What a pretraining returns: what the pair has learned, beside what needs no model.

Source: this project.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, final

from vesalius.core.result import AbstractResult, register_result

# score, what it says, whether more is better
SHOWN: Final = (
    ("generator_accuracy", "generator: first guesses that are right", True),
    ("generator_nats", "generator: cross entropy (nats)", False),
    ("noise_auc", "discriminator: AUC, tokens replaced by frequency", True),
    ("noise_recall", "discriminator: share of these among its suspects", True),
    ("own_auc", "discriminator: AUC, tokens replaced by the generator", True),
    ("own_recall", "discriminator: share of these among its suspects", True),
)


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PretrainResult(AbstractResult):
    """Scores of both networks on held-out text; the checkpoints lie beside the result.

    ``scores`` and ``baselines`` are named as `pretrain_scores.MEANINGS`; a baseline needs no
    model: the commonest token, token frequencies, chance. ``measures`` are the health measures of
    the last logged steps. ``num_tokens`` were read, padding left out, in ``seconds`` at work.
    """

    kind: ClassVar[str] = "electra.pretraining"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("electra_pretraining",)

    data_name: str
    data_licence: str
    command: str
    num_documents: int
    num_parameters: int
    num_steps: int
    num_tokens: int
    num_epochs: float
    padding_share: float
    seconds: float
    loss_nats: float
    scores: dict[str, float]
    baselines: dict[str, float]
    measures: dict[str, float]

    @property
    def tokens_per_second(self) -> float:
        """Tokens read per second at work, padding left out."""
        return self.num_tokens / self.seconds

    def rows(self) -> list[tuple[str, float, float]]:
        """Give what was learned: what it is, its score, and the score without a model."""
        return [
            (words, self.scores[name], self.baselines[name])
            for name, words, _ in SHOWN
            if name in self.scores and name in self.baselines
        ]
