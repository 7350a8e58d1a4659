"""Models, texts and matrix-product rates of ``benchmarks/training.py``."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pyarrow.parquet as pq
import torch
from torch import nn
from torch.nn import functional

from vesalius.data.corpus import written_sentences
from vesalius.data.facts import load_facts
from vesalius.data.masking import IGNORE, Document
from vesalius.recipes.zoo import PRESETS, MiniBertPreset, build_mini_bert

MASKED_SHARE = 0.15


@dataclass(frozen=True, kw_only=True)
class Case:
    """One shape of model, the work of a step and the steps of a measurement."""

    name: str
    what: str
    build: Callable[[Any], nn.Module]  # from a tokenizer
    linears: list[tuple[int, int]]  # (inputs, outputs) of the linear maps of one block
    max_length: int
    row_length: int  # of the rows without padding
    tokens_per_step: int
    num_steps: int
    warmup_steps: int


def mini_bert_case(preset: MiniBertPreset, *, tokens: int, steps: int, warmup: int) -> Case:
    """The bundled model's shape: ModernBERT, logits only where a label is."""
    width, inner = preset.d_model, preset.d_ff
    return Case(
        name="mini-bert",
        what=f"ModernBertForMaskedLM as `vesalius.recipes.zoo` builds it: {preset.num_layers} "
        f"layers, d_model {width}, d_ff {inner}, vocabulary {preset.vocab_size}, no dropout; "
        "`sparse_prediction`: the class takes logits at masked positions only, for every way",
        build=lambda tokenizer: build_mini_bert(preset, tokenizer=tokenizer, seed=0),
        linears=[(width, 3 * width), (width, width), (width, 2 * inner), (inner, width)],
        max_length=128,
        row_length=128,
        tokens_per_step=tokens,
        num_steps=steps,
        warmup_steps=warmup,
    )


def bert_case(name: str, *, tokens: int, steps: int, warmup: int, **sizes: int) -> Case:
    """BERT for masked words with random weights, of the library's default sizes if none are given.

    The vocabulary keeps its size, so the output layer has its full cost; the texts use the ids of
    the bundled tokenizer.
    """
    from transformers import BertConfig, BertForMaskedLM

    def build(tokenizer: Any) -> nn.Module:
        config = BertConfig(**sizes, pad_token_id=tokenizer.pad_token_id)
        torch.manual_seed(0)
        return BertForMaskedLM(config)

    config = BertConfig(**sizes)
    width, inner = config.hidden_size, config.intermediate_size
    return Case(
        name=name,
        what=f"BertForMaskedLM, random weights: {config.num_hidden_layers} layers, d_model "
        f"{width}, d_ff {inner}, vocabulary {config.vocab_size}, dropout "
        f"{config.hidden_dropout_prob:g}; the class takes logits at every position, for every way",
        build=build,
        linears=[(width, width)] * 4 + [(width, inner), (inner, width)],
        max_length=min(512, config.max_position_embeddings),
        row_length=128,
        tokens_per_step=tokens,
        num_steps=steps,
        warmup_steps=warmup,
    )


def cases_of(*, device: str, quick: bool) -> list[Case]:
    """The two shapes, with the work that the device does in the time of a report."""
    preset = PRESETS["cpu"]
    if quick:
        tiny = replace(preset, d_model=32, d_ff=48, num_layers=2, num_heads=2)
        small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
        small |= {"num_attention_heads": 2, "vocab_size": 5000}
        return [
            mini_bert_case(tiny, tokens=512, steps=3, warmup=1),
            bert_case("BERT-base", tokens=512, steps=3, warmup=1, **small),
        ]
    if device == "cpu":
        return [
            mini_bert_case(preset, tokens=4096, steps=15, warmup=2),
            bert_case("BERT-base", tokens=2048, steps=4, warmup=1),
        ]
    return [
        mini_bert_case(preset, tokens=65_536, steps=40, warmup=10),
        bert_case("BERT-base", tokens=32_768, steps=30, warmup=5),
    ]


def read_texts(data_dir: Path | None, *, limit: int) -> list[str]:
    """A random sample of T-REx sentences; without a folder, sentences of this project."""
    if data_dir is None:
        texts = [example.text for example in written_sentences(load_facts())]
    else:
        column = pq.read_table(data_dir / "facts" / "trex_sentences.parquet", columns=["text"])
        texts = column["text"].to_pylist()
    order = np.random.default_rng(0).permutation(len(texts))[:limit]
    return [texts[i] for i in order.tolist()]


def documents_of(texts: list[str], *, tokenizer: Any, max_length: int) -> list[Document]:
    """The texts as token ids; those that do not fit are left out."""
    encoded = tokenizer(texts, verbose=False)["input_ids"]  # long ones go out below
    return [
        Document(token_ids=tuple(ids), answer_positions=())
        for ids in encoded
        if len(ids) <= max_length
    ]


def full_rows(documents: list[Document], *, length: int) -> list[Document]:
    """The same tokens cut into rows of one length: nothing is padded."""
    stream = [token for document in documents for token in document.token_ids]
    return [
        Document(token_ids=tuple(stream[i : i + length]), answer_positions=())
        for i in range(0, len(stream) - length + 1, length)
    ]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Operations of a step without padding: ``linear`` per token, ``square`` per length squared.

    From a counted forward and backward at two lengths; logits where the class takes them.
    """

    linear: float
    square: float

    def of(self, *, tokens: int, squares: int) -> float:
        """Operations for so many tokens in texts with this sum of squared lengths."""
        return self.linear * tokens + self.square * squares


def cost_of(model: nn.Module, case: Case) -> Cost:
    """Count operations per token at two lengths on CPU: with attention they rise linearly."""
    counted = copy.deepcopy(model).cpu().eval()  # no dropout: its kernels would be others
    short, long = case.row_length // 4, case.row_length
    first, second = (_operations(counted, length) / length for length in (short, long))
    square = (second - first) / (long - short)
    return Cost(linear=first - square * short, square=square)


def _operations(model: nn.Module, length: int) -> float:
    """Operations of one row, forward and backward, with 15 % of labels."""
    rows = 4
    tokens = torch.full((rows, length), 7)
    labels = torch.full((rows, length), IGNORE)
    labels.view(-1)[: round(MASKED_SHARE * rows * length)] = 7

    def run() -> None:
        model(input_ids=tokens, labels=labels).loss.backward()

    return harness.counted(run)[1] / rows


def product_rates(case: Case, *, device: str) -> dict[str, dict[str, float]]:
    """Operations per second of matrix products, by type and shape, on the tokens of a step."""
    rows = case.tokens_per_step
    shapes = {
        f"[{rows} x 768].[768 x 3072]": [(768, 3072)],
        f"linear maps of a {case.name} block, {rows} rows": case.linears,
    }
    return {
        str(dtype).removeprefix("torch."): {
            name: _product_rate(rows, some, dtype=dtype, device=device)
            for name, some in shapes.items()
        }
        for dtype in (torch.float32, torch.bfloat16)
    }


def _product_rate(
    rows: int, shapes: list[tuple[int, int]], *, dtype: torch.dtype, device: str
) -> float:
    """The best of several runs, as `harness.product_rate`, on any device.

    In the layout of a linear map; float32 as torch computes it by default, without TF32.
    """
    if device == "cpu":
        return harness.product_rate(rows, shapes, dtype=dtype)
    pairs = [
        (torch.randn(rows, i, device=device).to(dtype), torch.randn(o, i, device=device).to(dtype))
        for i, o in shapes
    ]
    operations = sum(2 * rows * i * o for i, o in shapes)
    best = 0.0
    repeats = 20
    for _ in range(8):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(repeats):
            for row, weight in pairs:
                functional.linear(row, weight)
        synchronize(device)
        best = max(best, repeats * operations / (time.perf_counter() - start))
    return best


def synchronize(device: str) -> None:
    """Wait for what is under way on an accelerator."""
    if device != "cpu":
        torch.cuda.synchronize(device)
