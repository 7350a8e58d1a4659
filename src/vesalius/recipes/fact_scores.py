"""How many facts a masked language model knows, beside the majority answer and chance."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from vesalius.core.errors import VesaliusError
from vesalius.data.facts import Fact, Relation, load_relations, prompts_for
from vesalius.training.answers import answer_logits

_CHUNK = 2048  # prompts whose logits are held at once: 40 MB at 5,000 tokens


@dataclass(frozen=True, kw_only=True)
class RelationScore:
    """Scores of one relation, all in [0, 1].

    `accuracy` is the share of (fact, prompt) pairs whose most probable token of the whole
    vocabulary is the answer; `majority` what the most frequent answer of these very facts
    would reach; `mean_prob` the mean probability of the answer.

    Source: P@1 and the majority baseline of Petroni et al. 2019 (LAMA).
    """

    relation: str
    name: str
    num_facts: int
    num_prompts: int
    accuracy: float
    majority: float
    mean_prob: float


@dataclass(frozen=True, kw_only=True)
class FactScores:
    """Scores of a set of facts: macro over relations, micro over (fact, prompt) pairs.

    `chance` is one token drawn from the vocabulary. `saturated` is the share of right answers
    with a probability above 0.99.

    Source: this project.
    """

    num_facts: int
    num_relations: int
    num_prompts: int
    macro: float
    micro: float
    majority_macro: float
    majority_micro: float
    chance: float
    saturated: float
    relations: tuple[RelationScore, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class _Answered:
    fact: Fact
    right: bool
    prob: float


def score_facts(
    model: nn.Module,
    *,
    tokenizer: Any,
    facts: Sequence[Fact],
    relations: Mapping[str, Relation] | None = None,
    prompts_per_fact: int | None = None,
) -> FactScores:
    """Ask the model every fact in every `ask` prompt; the candidates are the whole vocabulary.

    With `prompts_per_fact` each fact is asked that many prompts, taken in turn.

    Raises: VesaliusError when there are no facts or an answer is not one token.

    Source: Petroni et al. 2019 (LAMA), without its restriction of the vocabulary.
    """
    if not facts:
        raise VesaliusError(given="no facts", expected="at least one", fix="pass facts=[Fact(...)]")
    known = load_relations() | dict(relations or {})
    asked: list[tuple[Fact, str, int]] = []
    for number, fact in enumerate(facts):
        token_id = _answer_id(fact, tokenizer)
        prompts = prompts_for(fact, mask_token=str(tokenizer.mask_token), relations=known)
        count = prompts_per_fact or len(prompts)
        asked += [(fact, prompts[(number + i) % len(prompts)], token_id) for i in range(count)]
    answered: list[_Answered] = []
    vocab_size = 1
    for start in range(0, len(asked), _CHUNK):
        rows = asked[start : start + _CHUNK]
        logits = answer_logits(
            model,
            prompts=tokenizer([prompt for _, prompt, _ in rows])["input_ids"],
            mask_id=int(tokenizer.mask_token_id),
            pad_id=int(tokenizer.pad_token_id),
        )
        vocab_size = logits.shape[1]
        ids = torch.tensor([token_id for _, _, token_id in rows])
        right = (logits.argmax(dim=1) == ids).tolist()
        probs = logits.softmax(dim=1)[torch.arange(len(rows)), ids].tolist()
        answered += [
            _Answered(fact=fact, right=ok, prob=prob)
            for (fact, _, _), ok, prob in zip(rows, right, probs, strict=True)
        ]
    return _summarise(answered, names={code: r.name for code, r in known.items()}, size=vocab_size)


def _answer_id(fact: Fact, tokenizer: Any) -> int:
    token_ids = tokenizer(fact.answer, add_special_tokens=False)["input_ids"]
    if len(token_ids) != 1 or token_ids[0] == tokenizer.unk_token_id:
        raise VesaliusError(
            given=f"answer {fact.answer!r} of {fact.subject!r}: {len(token_ids)} tokens",
            expected="one token of the model's vocabulary",
            fix="leave the fact out, or choose a model whose vocabulary has the word",
        )
    return int(token_ids[0])


def _summarise(answered: Sequence[_Answered], *, names: dict[str, str], size: int) -> FactScores:
    groups: dict[str, list[_Answered]] = defaultdict(list)
    for row in answered:
        groups[row.fact.relation].append(row)
    scores: list[RelationScore] = []
    for code, rows in groups.items():
        counts = Counter(row.fact.answer for row in rows)
        scores.append(
            RelationScore(
                relation=code,
                name=names[code],
                num_facts=len({row.fact for row in rows}),
                num_prompts=len(rows),
                accuracy=_mean([float(row.right) for row in rows]),
                majority=counts.most_common(1)[0][1] / len(rows),
                mean_prob=_mean([row.prob for row in rows]),
            )
        )
    right = [row for row in answered if row.right]
    return FactScores(
        num_facts=sum(score.num_facts for score in scores),
        num_relations=len(scores),
        num_prompts=len(answered),
        macro=_mean([score.accuracy for score in scores]),
        micro=len(right) / len(answered),
        majority_macro=_mean([score.majority for score in scores]),
        majority_micro=sum(s.majority * s.num_prompts for s in scores) / len(answered),
        chance=1 / size,
        saturated=_mean([float(row.prob > 0.99) for row in right]) if right else 0.0,
        relations=tuple(scores),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
