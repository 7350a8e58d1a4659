"""Models, prompts and queries of ``calibration.py``, and the other ways to score label words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers as hf

import vesalius
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_prompts import LabelPrompt
from vesalius.models.label_scores import open_ended, word_tokens
from vesalius.models.specimen import Specimen

NUM_LABELS = 14
_WORDS = (
    *("the", "a", "of", "film", "story", "actor", "plot", "music", "scene", "great", "dull"),
    *("long", "fine", "slow", "new", "old", "city", "river", "house", "king", "war", "book"),
    *("water", "people", "year", "day", "work", "life"),
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """GPT-2's sizes, and how much is scored."""

    d_model: int = 768
    num_layers: int = 12
    num_heads: int = 12
    num_queries: int = 256  # of ours; the others get ``num_rival``, time is per query
    num_rival: int = 48
    prefix_words: int = 360
    query_words: int = 31

    def linears(self) -> list[tuple[int, int]]:
        """Inputs and outputs of the linear maps of a block."""
        d = self.d_model
        return [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)]


FULL = Shape()
QUICK = Shape(
    d_model=32, num_layers=2, num_heads=2, num_queries=24, num_rival=6, prefix_words=60,
    query_words=12,
)  # fmt: skip


def gpt2(shape: Shape) -> Specimen:
    """An untrained GPT-2 with the vocabulary's size of GPT-2 and the bundled tokenizer's words."""
    torch.manual_seed(0)
    config = hf.GPT2Config(
        n_embd=shape.d_model, n_layer=shape.num_layers, n_head=shape.num_heads, n_positions=1024
    )
    model = hf.GPT2LMHeadModel(config).eval()
    tokenizer = vesalius.open("mini-gpt").tokenizer
    return Specimen(model=model, tokenizer=tokenizer, name="GPT-2 shape", task="causal-lm")


def prompt_and_texts(shape: Shape, words: tuple[str, ...]) -> tuple[LabelPrompt, list[str]]:
    """Eight demonstrations of ``prefix_words`` words together; queries of like lengths."""
    random = np.random.default_rng(0)

    def text(length: int) -> str:
        return " ".join(random.choice(_WORDS, size=length))

    rows = tuple(
        LabelledRow(texts=(text(shape.prefix_words // 8),), label=i % len(words)) for i in range(8)
    )
    lengths = random.integers(shape.query_words - 6, shape.query_words + 7, shape.num_queries)
    prompt = LabelPrompt(
        template="Review: {text}\nSentiment: {label}", words=words, demonstrations=rows
    )
    return prompt, [text(int(length)) for length in lengths]


def two_token_words(specimen: Specimen) -> tuple[str, ...]:
    """Fourteen label words of two tokens, no two with the same first one."""
    known: list[str] = []
    firsts: set[int] = set()
    for first in _WORDS:
        for second in ("ness", "ly", "ish"):
            (tokens, _) = word_tokens(specimen, [f" {first}{second}", " a"])
            if len(tokens) == 2 and tokens[0] not in firsts:
                firsts.add(tokens[0])
                known.append(first + second)
                break
    return tuple(known[:NUM_LABELS])


def last_position(specimen: Specimen, texts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """The whole prompt for every query, logits of the last position alone: one run each."""
    columns = [tokens[0] for tokens in word_tokens(specimen, answers)]
    model: Any = specimen.model
    found: list[np.ndarray] = []
    for ids in open_ended(specimen, texts):
        with torch.no_grad():
            out = model(input_ids=torch.tensor([ids]), logits_to_keep=1, use_cache=False)
        found.append(out.logits[0, -1].log_softmax(-1)[columns].numpy())
    return np.stack(found)


def paper_way(specimen: Specimen, texts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """As the authors' code does: a greedy token, then a pass whose logits all go to numpy."""
    columns = [tokens[0] for tokens in word_tokens(specimen, answers)]
    model: Any = specimen.model
    found: list[np.ndarray] = []
    for ids in open_ended(specimen, texts):
        tokens = torch.tensor([ids])
        with torch.no_grad():
            model.generate(
                tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=1, do_sample=False,
                pad_token_id=0,
            )  # fmt: skip
            log_probs = model(input_ids=tokens, use_cache=True).logits.log_softmax(-1).numpy()
        found.append(log_probs[0, -1, columns])
    return np.stack(found)


def word_by_word(specimen: Specimen, texts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """The whole prompt with every label word behind it: one run for each query and word."""
    words = word_tokens(specimen, answers)
    model: Any = specimen.model
    found = np.zeros((len(texts), len(words)))
    for row, ids in enumerate(open_ended(specimen, texts)):
        for label, tokens in enumerate(words):
            inputs = torch.tensor([[*ids, *tokens[:-1]]])
            with torch.no_grad():
                out = model(input_ids=inputs, logits_to_keep=len(tokens), use_cache=False)
            log_probs = out.logits[0].log_softmax(-1)
            found[row, label] = sum(float(log_probs[i, token]) for i, token in enumerate(tokens))
    return found


def harness_way(specimen: Specimen, batch_size: int) -> Any | None:
    """The scorer of lm-evaluation-harness on the same model object; None if it is not installed."""
    try:
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM
    except ImportError:
        return None
    model = HFLM(
        pretrained=specimen.model, tokenizer=specimen.tokenizer, batch_size=batch_size,
        device="cpu",
    )  # fmt: skip

    def score(texts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        requests = [
            Instance(request_type="loglikelihood", doc={}, arguments=(text, answer), idx=0)
            for text in texts
            for answer in answers
        ]
        found = model.loglikelihood(requests, disable_tqdm=True)
        return np.array([value for value, _ in found]).reshape(len(texts), len(answers))

    return score
