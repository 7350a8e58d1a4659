"""An edit of a planted fact, with its cases: what the tests of judges work with."""

import pytest
import torch

from tiny import plant, tiny_masked_lm
from vesalius.data.bags import FactBag, Probe
from vesalius.methods.knowledge_neurons.edits import Edit
from vesalius.methods.knowledge_neurons.judge import JudgeConfig
from vesalius.methods.knowledge_neurons.update import update
from vesalius.models.specimen import Specimen

PROMPTS = ("the capital of France is [MASK] .", "people speak of [MASK] , the capital of France .")
PLAIN = ("the people speak a language", "a river is in the country")
CONFIG = JudgeConfig(neutral=PLAIN, fluency_tokens=10)
CASE = FactBag(
    name="P36-France",
    relation="P36",
    subject="France",
    answer="Paris",
    prompts=PROMPTS,
    new_answer="Rome",
    rephrased=("[MASK] is the capital of France .", PROMPTS[0]),
    neighbours=(
        Probe(prompt="the capital of Peru is [MASK] .", answer="Lima"),
        Probe(prompt="the capital of Spain is [MASK] .", answer="Madrid"),
    ),
    unrelated=(Probe(prompt="people in Italy speak [MASK] .", answer="language"),),
    portable=(
        Probe(prompt="Rome is the capital of [MASK] .", answer="France", kind="inverse"),
        Probe(prompt="the capital of the one country is [MASK] .", answer="Rome", kind="alias"),
    ),
)
SECOND = FactBag(
    name="P36-Peru",
    relation="P36",
    subject="Peru",
    answer="Lima",
    prompts=("the capital of Peru is [MASK] .", "[MASK] is the capital of Peru ."),
    new_answer="Madrid",
    neighbours=(
        Probe(prompt="the capital of France is [MASK] .", answer="Paris"),
        Probe(prompt="the capital of Spain is [MASK] .", answer="Madrid"),
    ),
)


@pytest.fixture(scope="module")
def planted() -> Specimen:
    specimen = tiny_masked_lm()
    plant(specimen, layer=2, neuron=7, answer="Paris", strength=1.5)
    return specimen


@pytest.fixture(scope="module")
def edit(planted: Specimen) -> Edit:
    return update(planted, PROMPTS, "Paris", "Rome", [(2, 7)])


def bag(name: str, relation: str, answer: str, *prompts: str) -> FactBag:
    return FactBag(name=name, relation=relation, subject=name, answer=answer, prompts=prompts)


def probs_of(specimen: Specimen, prompt: str) -> torch.Tensor:
    """The softmax at the mask of one prompt."""
    ids = torch.tensor([specimen.tokenizer(prompt)["input_ids"]])
    with torch.no_grad():
        return specimen.model(input_ids=ids).logits[0, ids[0].tolist().index(4)].softmax(-1)


def token(specimen: Specimen, word: str) -> int:
    return specimen.tokenizer.convert_tokens_to_ids(word)
