from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.data.facts import Fact, load_relations, prompts_for
from vesalius.data.tokenizer import train_tokenizer
from vesalius.recipes.fact_scores import score_facts

FACTS = [
    Fact(relation="P36", subject="Peru", answer="Lima"),
    Fact(relation="P36", subject="France", answer="Paris"),
    Fact(relation="P36", subject="Gaul", answer="Paris"),
    Fact(relation="P30", subject="Peru", answer="America"),
]


@dataclass
class _Output:
    logits: Tensor


class _Always(nn.Module):
    """Gives one token the probability 1/2, whatever is asked."""

    def __init__(self, *, token_id: int, vocab_size: int) -> None:
        super().__init__()
        logits = torch.full((vocab_size,), 0.0)
        logits[token_id] = torch.tensor(vocab_size - 1.0).log()
        self.logits = nn.Parameter(logits)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> _Output:
        return _Output(logits=self.logits.expand(*input_ids.shape, -1))


@pytest.fixture(scope="module")
def tokenizer():
    texts = [p for fact in FACTS for p in prompts_for(fact, mask_token=fact.answer)]
    return train_tokenizer(texts, whole_words=[f.answer for f in FACTS], vocab_size=150)


def test_scores_of_a_model_with_one_answer_are_the_majority(tokenizer):
    paris = tokenizer.convert_tokens_to_ids("Paris")
    model = _Always(token_id=paris, vocab_size=len(tokenizer))
    scores = score_facts(model, tokenizer=tokenizer, facts=FACTS)
    prompts = len(load_relations()["P36"].ask)
    assert scores.num_facts == 4
    assert scores.num_prompts == 4 * prompts
    assert scores.macro == pytest.approx((2 / 3 + 0) / 2)
    assert scores.micro == pytest.approx(2 / 4)
    assert scores.majority_macro == pytest.approx((2 / 3 + 1) / 2)
    assert scores.majority_micro == pytest.approx(3 / 4)
    assert scores.chance == 1 / len(tokenizer)
    assert scores.saturated == 0.0
    capital, continent = scores.relations
    assert (capital.relation, capital.num_facts) == ("P36", 3)
    half, other = 0.5, 0.5 / (len(tokenizer) - 1)
    assert capital.mean_prob == pytest.approx((2 * half + other) / 3, rel=1e-4)
    assert continent.accuracy == 0.0


def test_fewer_prompts_are_taken_in_turn(tokenizer):
    model = _Always(token_id=5, vocab_size=len(tokenizer))
    scores = score_facts(model, tokenizer=tokenizer, facts=FACTS, prompts_per_fact=1)
    assert scores.num_prompts == len(FACTS)


def test_an_answer_of_several_tokens_is_refused(tokenizer):
    model = _Always(token_id=5, vocab_size=len(tokenizer))
    fact = Fact(relation="P36", subject="Peru", answer="Ollantaytambo")
    with pytest.raises(VesaliusError, match="Ollantaytambo"):
        score_facts(model, tokenizer=tokenizer, facts=[fact])
    with pytest.raises(VesaliusError, match="no facts"):
        score_facts(model, tokenizer=tokenizer, facts=[])
