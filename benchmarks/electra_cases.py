"""Shapes, texts and rates of ``electra.py``, and the straightforward composition beside ours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, DataCollatorForLanguageModeling

from vesalius.data.corpus import written_sentences
from vesalius.data.facts import load_facts
from vesalius.data.packing import document_mask
from vesalius.data.replaced import ReplacedBatches
from vesalius.data.shards import Documents
from vesalius.methods.electra.config import ElectraOptions
from vesalius.methods.electra.objective import ReplacedTokenObjective
from vesalius.models import zoo
from vesalius.models.electra import EncoderPair, PairShape, SpecialIds
from vesalius.training.random_state import seeded

MASKED_SHARE = 0.15
DISCRIMINATOR_WEIGHT = 50.0
VOCABULARY = 30_522  # that of the published models; the texts use the ids of the bundled tokenizer
Batch = dict[str, Tensor]
Pieces = list[list[int]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line asked for."""

    quick: bool
    rounds: int
    threads: int
    device: str
    data: Path | None = None
    compile: bool = False  # measure our encoders compiled, too


@dataclass(frozen=True, kw_only=True)
class Case:
    """One shape of pair, the rows of a step and the steps of a measurement."""

    name: str
    shape: PairShape
    length: int
    rows: int
    num_steps: int
    warmup_steps: int
    attention: str  # of ours: the faster one on this device at this length

    @property
    def tokens(self) -> int:
        """Places of a step of packed rows."""
        return self.length * self.rows


# Clark et al. 2020, table 6; dropout 0, for its random numbers would be a fifth of a step on CPU
SMALL = PairShape(
    architecture="electra", vocab_size=VOCABULARY, max_length=512, embedding_size=128, width=256,
    num_layers=12, num_heads=4, ffn_width=1024, generator_width=64, generator_layers=12,
    generator_heads=1, generator_ffn_width=256,
)  # fmt: skip
BASE = replace(
    SMALL, embedding_size=768, width=768, num_heads=12, ffn_width=3072, generator_width=256,
    generator_heads=4, generator_ffn_width=1024,
)  # fmt: skip
TINY = replace(
    SMALL, max_length=32, embedding_size=16, width=32, num_layers=2, num_heads=2, ffn_width=64,
    generator_width=16, generator_layers=2, generator_heads=1, generator_ffn_width=32,
    vocab_size=5000,
)  # fmt: skip


def cases_of(settings: Settings) -> list[Case]:
    """Both shapes, with the work that the device does in the time of a report."""
    if settings.quick:
        words: dict[str, Any] = {"length": 32, "rows": 4, "num_steps": 2, "warmup_steps": 1}
        words["attention"] = "eager"
        wide = replace(TINY, embedding_size=32)
        return [
            Case(name="small", shape=TINY, **words),
            Case(name="base", shape=wide, **words),
        ]
    if settings.device == "cpu":
        words = {"length": 128, "warmup_steps": 1, "attention": "eager"}
        return [
            Case(name="small", shape=SMALL, rows=16, num_steps=4, **words),
            Case(name="base", shape=BASE, rows=8, num_steps=2, **words),
        ]
    words = {"num_steps": 30, "warmup_steps": 5, "attention": "sdpa"}
    return [
        Case(name="small", shape=SMALL, length=128, rows=256, **words),
        Case(name="base", shape=BASE, length=512, rows=64, **words),
    ]


def tokenizer_of() -> Any:
    """The bundled tokenizer."""
    return AutoTokenizer.from_pretrained(zoo.path("mini-bert"))


def special_of(tokenizer: Any) -> SpecialIds:
    """The ids of its special tokens."""
    names = ("pad", "mask", "cls", "sep")
    return SpecialIds(*(getattr(tokenizer, f"{name}_token_id") for name in names))


def read_texts(data: Path | None, *, limit: int) -> list[str]:
    """Sentences and passages, as many of each; without a folder, sentences of this project."""
    if data is None:
        told = [example.text for example in written_sentences(load_facts())]
        texts = [" ".join(told[i : i + 1 + i % 7]) for i in range(len(told))]
        order = np.random.default_rng(0).permutation(len(texts))[:limit]
        return [texts[i] for i in order.tolist()]
    texts = []
    for name in ("facts/trex_sentences", "text/wiki_movies"):
        some = pq.read_table(data / f"{name}.parquet", columns=["text"])["text"].to_pylist()
        order = np.random.default_rng(0).permutation(len(some))[: limit // 2]
        texts += [some[i] for i in order.tolist()]
    return texts


def pieces_of(texts: Sequence[str], case: Case, *, tokenizer: Any) -> Pieces:
    """Token ids of the texts; those longer than a row are cut into rows and a rest."""
    length = case.length
    encoded = tokenizer(list(texts), verbose=False)["input_ids"]
    return [ids[i : i + length] for ids in encoded for i in range(0, len(ids), length)]


def full_rows(pieces: Pieces, case: Case) -> Pieces:
    """The same tokens cut into rows of one length: nothing is padded."""
    stream, length = [token for piece in pieces for token in piece], case.length
    return [stream[i : i + length] for i in range(0, len(stream) - length + 1, length)]


def packed(pieces: Pieces, case: Case, *, tokenizer: Any, seed: int = 0) -> ReplacedBatches:
    """The library's own batches: rows of several texts, none of which sees another."""
    return ReplacedBatches(
        Documents.from_lists(pieces),
        context_length=case.length,
        rows_per_batch=case.rows,
        seed=seed,
        special_ids=tokenizer.all_special_ids,
        pad_id=tokenizer.pad_token_id,
    )


def texts_a_batch(pieces: Pieces, case: Case, *, share: float) -> int:
    """How many texts have as many tokens as a packed step, of which ``share`` is filled."""
    mean = sum(map(len, pieces)) / len(pieces)
    return max(1, round(case.tokens * share / mean))


class Padded:
    """One text a row, in random order, padded to the longest of the batch.

    What the composition takes (the library's collator, made before the clock runs) and, as
    ``ours``, the same rows as our objective takes them.
    """

    def __init__(self, pieces: Pieces, *, tokenizer: Any, rows: int, seed: int) -> None:
        self._pieces, self._tokenizer, self._rows, self._seed = pieces, tokenizer, rows, seed
        self._collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED_SHARE)

    def __getitem__(self, number: int) -> Batch:
        """Return batch ``number`` for the composition."""
        chosen = np.random.default_rng((self._seed, number)).choice(len(self._pieces), self._rows)
        with seeded(number):
            batch = dict(self._collate([{"input_ids": self._pieces[i]} for i in chosen.tolist()]))
        labels = batch["labels"]
        batch["originals"] = torch.where(labels == -100, batch["input_ids"], labels)
        return batch

    def ours(self, number: int) -> Batch:
        """Return the same batch for our objective."""
        batch = self[number]
        slots = (batch["labels"] != -100).flatten().nonzero().squeeze(1)
        random = np.random.default_rng((self._seed, number, 1))
        real = batch["attention_mask"].bool()
        owners = torch.where(real, 0, -1)
        found = {
            "input_ids": batch["originals"],
            "slots": slots,
            "masked": torch.from_numpy(random.random(len(slots)) < 0.85),
            "uniforms": torch.from_numpy(random.random(len(slots))),
            "real": real,
        }
        if not real.all():
            found["attention_mask"] = document_mask(owners, causal=False)
        return found


@dataclass(frozen=True)
class OursOf:
    """Padded rows as numbered batches for our objective."""

    padded: Padded

    def __getitem__(self, number: int) -> Batch:
        return self.padded.ours(number)


def objective_of(case: Case, tokenizer: Any, **options: Any) -> ReplacedTokenObjective:
    """Our objective over a pair with random weights, the same for all options."""
    with seeded(0):
        pair = EncoderPair(case.shape, special_of(tokenizer))
        pair.use_attention(case.attention)
        return ReplacedTokenObjective(pair, options=ElectraOptions(**options))


class Composition(nn.Module):
    """Generator and discriminator as transformers' classes make them, put together plainly.

    Embeddings are tied; the classes take logits at all positions and compute their own losses;
    replacements are drawn at the labelled positions.
    """

    def __init__(self, pair: EncoderPair, *, attention: str = "sdpa") -> None:
        super().__init__()
        self.generator: Any = pair.as_generator()
        self.discriminator: Any = pair.as_discriminator()
        self.discriminator.electra.embeddings = self.generator.electra.embeddings
        for model in (self.generator, self.discriminator):
            model.set_attn_implementation(attention)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, originals: Tensor
    ) -> Tensor:
        """Return the loss, [], of a batch [batch, position]."""
        masked = self.generator(input_ids=input_ids, attention_mask=attention_mask, labels=labels)
        with torch.no_grad():
            places = labels != -100
            probs = masked.logits[places].float().softmax(-1)
            corrupted = originals.clone()
            corrupted[places] = torch.multinomial(probs, 1).squeeze(1)
            replaced = (corrupted != originals).long()
        found = self.discriminator(
            input_ids=corrupted, attention_mask=attention_mask, labels=replaced
        )
        return masked.loss + DISCRIMINATOR_WEIGHT * found.loss


def composed_loss(model: Any, batch: Batch, *, device: str) -> float:
    """The loss of a pair or a composition on one batch, always computed by the composition."""
    own = model if isinstance(model, Composition) else Composition(model.pair)
    inputs = {name: tensor.to(device) for name, tensor in batch.items()}
    with torch.no_grad(), seeded(0), torch.autocast(device, dtype=torch.bfloat16):
        return float(own.to(device).eval()(**inputs))
