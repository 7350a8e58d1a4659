"""Tiny random classifiers and language models with a tokenizer, for tests of attention."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import transformers as hf
from torch import nn

from cli import tiny
from vesalius.methods.attention_attribution import Attributions, LayerLinks
from vesalius.models.specimen import Specimen, task_of

TEXTS = (
    "The capital of France is Paris.",
    "a b c",
    "The government sits in London, the official city.",
    "country",
    "Rome Japan Tokyo!",
)
PAIRS = ("a b", "The language of Japan", "c", "Paris London Rome a b c", "city?")
PROMPTS = (
    "The capital of France is [MASK].",
    "[MASK] is the city.",
    "The official language of the country has its government in [MASK].",
)
CAUSAL_PROMPTS = ("The capital of France is", "a", "The official language of the country Japan is")

_VOCAB = len(tiny.tokenizer())
_WIDE = {
    "vocab_size": _VOCAB,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "num_labels": 3,
}
_MODERN = {**_WIDE, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3,
           "local_attention": 6, "global_attn_every_n_layers": 2}  # fmt: skip
_T5 = {"vocab_size": _VOCAB, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2,
       "num_heads": 2, "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0,
       "num_labels": 3}  # fmt: skip
_BART = {"vocab_size": _VOCAB, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2,
         "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24,
         "decoder_ffn_dim": 24, "max_position_embeddings": 128, "pad_token_id": 0,
         "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3,
         "num_labels": 3}  # fmt: skip
_GPT2 = {"vocab_size": _VOCAB, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128,
         "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "num_labels": 3}  # fmt: skip
_LLAMA = {**_WIDE, "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 2,
          "eos_token_id": 3}  # fmt: skip

CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "bert": lambda **c: hf.BertForSequenceClassification(hf.BertConfig(**{**_WIDE, **c})),
    "albert": lambda **c: hf.AlbertForSequenceClassification(
        hf.AlbertConfig(**{**_WIDE, "embedding_size": 8, **c})
    ),
    "modernbert-mean": lambda **c: hf.ModernBertForSequenceClassification(
        hf.ModernBertConfig(**{**_MODERN, "classifier_pooling": "mean", **c})
    ),
    "modernbert-cls": lambda **c: hf.ModernBertForSequenceClassification(
        hf.ModernBertConfig(**{**_MODERN, "classifier_pooling": "cls", **c})
    ),
    "gpt2": lambda **c: hf.GPT2ForSequenceClassification(hf.GPT2Config(**{**_GPT2, **c})),
    "llama": lambda **c: hf.LlamaForSequenceClassification(hf.LlamaConfig(**{**_LLAMA, **c})),
    "bart": lambda **c: hf.BartForSequenceClassification(hf.BartConfig(**{**_BART, **c})),
    "t5": lambda **c: hf.T5ForSequenceClassification(hf.T5Config(**{**_T5, **c})),
}
LANGUAGE_MODELS: dict[str, Callable[..., nn.Module]] = {
    "bert": lambda **c: hf.BertForMaskedLM(hf.BertConfig(**{**_WIDE, **c})),
    "gpt2": lambda **c: hf.GPT2LMHeadModel(hf.GPT2Config(**{**_GPT2, **c})),
    "bart": lambda **c: hf.BartForConditionalGeneration(hf.BartConfig(**{**_BART, **c})),
}


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.3, generator=generator)
    return model.eval()


def specimen_of(
    model: nn.Module, *, dtype: torch.dtype = torch.float32, tokenizer: Any = None, seed: int = 0
) -> Specimen:
    return Specimen(
        model=seeded(model, seed).to(dtype),
        tokenizer=tokenizer or tiny.tokenizer(),
        name="tiny",
        task=task_of(model),
    )


def classifier(
    kind: str = "bert", *, dtype: torch.dtype = torch.float32, **changes: Any
) -> Specimen:
    return specimen_of(CLASSIFIERS[kind](**changes), dtype=dtype)


def language_model(kind: str = "bert", *, dtype: torch.dtype = torch.float32) -> Specimen:
    return specimen_of(LANGUAGE_MODELS[kind](), dtype=dtype)


def assert_same_scores(
    found: Attributions, wanted: Attributions, *, tolerance: float = 1e-5
) -> None:
    """The same texts, classes and numbers, to a share of each text's largest score."""
    assert len(found.examples) == len(wanted.examples)
    for number, (one, other) in enumerate(zip(found.examples, wanted.examples, strict=True)):
        assert one.text == other.text
        assert (one.target, one.predicted, one.reader) == (
            other.target, other.predicted, other.reader
        )  # fmt: skip
        for site in range(len(found.sites)):
            for what in ("site_scores", "site_weights"):
                a, b = (getattr(each, what)(number, site) for each in (found, wanted))
                assert a.shape == b.shape
                scale = max(float(np.abs(b).max()), 1e-3)
                assert float(np.abs(a - b).max()) <= tolerance * scale
        assert abs(one.prob - other.prob) < 1e-5


def links_of(
    scores: Sequence[Any] | np.ndarray,
    *,
    reader: int | None = None,
    weights: np.ndarray | None = None,
    special: Sequence[int] = (),
) -> LayerLinks:
    """Links made by hand, [layer, query, key]; tokens a, b, c, ..."""
    numbers = np.asarray(scores, dtype=np.float64)
    num_tokens = numbers.shape[1]
    return LayerLinks(
        tokens=tuple(chr(ord("a") + i) for i in range(num_tokens)),
        special=np.isin(np.arange(num_tokens), list(special)),
        reader=reader,
        scores=numbers,
        weights=np.full(numbers.shape, 1 / num_tokens) if weights is None else weights,
    )
