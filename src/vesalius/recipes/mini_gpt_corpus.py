"""What mini-gpt reads: general text, then general text and prompts, as packed batches.

Source: this project; the sets are those of `data.plain_text` and `data.few_shot`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor

from vesalius.core.seeds import derive_seed
from vesalius.data.few_shot import (
    FewShotTask,
    FewShotText,
    LabelledRow,
    draw_text,
    group_rows,
    load_rows,
    load_tasks,
)
from vesalius.data.masking import IGNORE
from vesalius.data.packing import PackedBatches
from vesalius.data.plain_text import Passage, hash_share, is_held_out, load_passages
from vesalius.data.shards import Documents
from vesalius.training.prefetch import NumberedBatches

ANSWER_WEIGHT: Final = 8.0  # an answer's loss counts as much as that of so many other tokens
_CHARACTERS_PER_TOKEN: Final = 3.3  # of a prompt, low on purpose: longer ones are left out
_ANSWERS_ONLY: Final = 0.75  # of the prompts: their texts come several times, answers are new


@final
@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """How much of what, and in rows of what length, each of the two phases has.

    `first_share` of the general passages is for the first phase, the rest for the second, beside
    `num_prompts` prompts.
    """

    first_context: int = 128
    second_context: int = 256
    tokens_per_batch: int = 2048
    first_share: float = 0.66
    num_prompts: int = 40_000


@final
@dataclass(frozen=True, kw_only=True)
class MiniGptTexts:
    """The texts: general passages of both phases, held-out ones, prompts."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    held_out: tuple[str, ...]
    prompts: tuple[FewShotText, ...]
    prompts_of: Mapping[str, int]  # by task


def collect_texts(data_dir: Path, *, options: CorpusOptions, seed: int) -> MiniGptTexts:
    """Read and draw all texts, the same ones for the same seed.

    Raises:
        VesaliusError: a file of the data is missing or unreadable.
    """
    passages = load_passages(data_dir)
    kept = [passage for passage in passages if not is_held_out(passage.text)]
    early = [hash_share(f"phase {p.text}") < options.first_share for p in kept]
    random = np.random.default_rng(derive_seed(seed, "prompts"))
    tasks = [task for task in load_tasks().values() if task.weight > 0]
    rows = {task.name: group_rows(_training_rows(data_dir, task, kept)) for task in tasks}
    weights = np.array([task.weight for task in tasks])
    drawn = random.choice(len(tasks), size=options.num_prompts, p=weights / weights.sum())
    room = int(options.second_context * _CHARACTERS_PER_TOKEN)
    prompts = [
        draw_text(
            rows[tasks[i].name],
            task=tasks[i],
            random=random,
            max_characters=int(random.integers(room // 2, room + 1)),
        )
        for i in drawn
    ]
    return MiniGptTexts(
        first=tuple(p.text for p, first in zip(kept, early, strict=True) if first),
        second=tuple(p.text for p, first in zip(kept, early, strict=True) if not first),
        held_out=tuple(p.text for p in passages if is_held_out(p.text)),
        prompts=tuple(prompts),
        prompts_of={task.name: int((drawn == i).sum()) for i, task in enumerate(tasks)},
    )


def _training_rows(
    data_dir: Path, task: FewShotTask, passages: Sequence[Passage]
) -> list[LabelledRow]:
    """Return a task's rows; passages themselves are rows of the task of their sources."""
    if task.path:
        rows = load_rows(data_dir, task=task, splits=task.training_splits)
        return [row for row in rows if not is_held_out(row.texts[0])]
    return [
        LabelledRow(texts=(" ".join(p.text.split()),), label=task.label_values.index(p.source))
        for p in passages
        if p.source in task.label_values
    ]


def encode_texts(texts: Sequence[str], *, tokenizer: Any) -> list[list[int]]:
    """Return token ids of each text, the start token before and after it."""
    end = [tokenizer.eos_token_id]
    return (
        [ids + end for ids in tokenizer(list(texts), verbose=False)["input_ids"]] if texts else []
    )


def encode_prompts(
    prompts: Sequence[FewShotText], *, tokenizer: Any, max_length: int, seed: int
) -> list[list[int]]:
    """Return marked token ids of each prompt that is not longer than `max_length`.

    The mark is a multiple of the vocabulary's size: once for tokens that are not learned, twice
    for answers. In a quarter of the prompts all tokens are learned, in the others only answers.
    """
    size, random = len(tokenizer), np.random.default_rng(derive_seed(seed, "answers only"))
    answers_only = random.random(len(prompts)) < _ANSWERS_ONLY
    written = [prompt.text for prompt in prompts]
    encoded = tokenizer(written, return_offsets_mapping=True, verbose=False)
    documents: list[list[int]] = []
    for i, (prompt, token_ids, spans) in enumerate(
        zip(prompts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ):
        if len(token_ids) >= max_length:
            continue
        marked = np.array([*token_ids, tokenizer.eos_token_id])
        starts, ends = np.array([*spans, (-1, -1)]).T
        is_answer = np.zeros(len(marked), dtype=bool)
        for start, end in prompt.answers:
            is_answer |= (starts < end) & (ends > start)
        marked += size * np.where(is_answer, 2, int(answers_only[i]))
        documents.append(marked.tolist())
    return documents


@final
class MarkedBatches:
    """Packed batches of marked tokens, the marks turned into labels and weights of the loss.

    Args:
        packed: batches of tokens as `encode_texts` and `encode_prompts` give them.
        vocab_size: of the tokenizer.
    """

    def __init__(self, packed: PackedBatches, *, vocab_size: int) -> None:
        self._packed, self._vocab_size = packed, vocab_size

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Return batch `number`: as packed, and loss_weights [batch, position]."""
        batch = dict(self._packed[number])
        mark = batch["input_ids"] // self._vocab_size
        labels = batch["labels"]
        batch["input_ids"] = batch["input_ids"] % self._vocab_size
        learned = (labels != IGNORE) & (mark != 1)
        batch["labels"] = torch.where(learned, labels % self._vocab_size, IGNORE)
        batch["loss_weights"] = torch.where(mark == 2, ANSWER_WEIGHT, 1.0)
        return batch


@final
class PhasedBatches:
    """Batches of one kind up to a number, of another from it on, each kind counted from 0.

    Args:
        first: batches 0 to `num_first` - 1.
        second: the others.
        num_first: how many are of the first kind.
    """

    def __init__(self, first: NumberedBatches, second: NumberedBatches, *, num_first: int) -> None:
        self._first, self._second, self._num_first = first, second, num_first

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Return batch `number`; shapes as its kind gives them, [batch, ...]."""
        if number < self._num_first:
            return self._first[number]
        return self._second[number - self._num_first]


@final
@dataclass(frozen=True, kw_only=True)
class MiniGptBatches:
    """The batches of both phases, what makes them these, and their sizes in tokens."""

    batches: PhasedBatches
    identity: Mapping[str, str]
    first_tokens: int
    second_tokens: int
    prompt_tokens: int
    padding_shares: tuple[float, float]


def make_batches(
    texts: MiniGptTexts, *, tokenizer: Any, options: CorpusOptions, num_first: int, seed: int
) -> MiniGptBatches:
    """Pack the texts of both phases; `num_first` batches are of the first.

    Raises:
        VesaliusError: the texts of a phase fill no batch.
    """
    general = encode_texts(texts.second, tokenizer=tokenizer)
    prompts = encode_prompts(
        texts.prompts, tokenizer=tokenizer, max_length=options.second_context, seed=seed
    )
    first = _pack(
        encode_texts(texts.first, tokenizer=tokenizer), tokenizer, options.first_context, options,
        seed,
    )  # fmt: skip
    second = _pack([*general, *prompts], tokenizer, options.second_context, options, seed)
    identity = {f"first {key}": value for key, value in first.identity.items()}
    identity |= {f"second {key}": value for key, value in second.identity.items()}
    size = len(tokenizer)
    return MiniGptBatches(
        batches=PhasedBatches(
            MarkedBatches(first, vocab_size=size),
            MarkedBatches(second, vocab_size=size),
            num_first=num_first,
        ),
        identity=identity | {"num_first": str(num_first)},
        first_tokens=first.batches_per_epoch * options.tokens_per_batch,
        second_tokens=second.batches_per_epoch * options.tokens_per_batch,
        prompt_tokens=sum(map(len, prompts)),
        padding_shares=(first.padding_share, second.padding_share),
    )


def _pack(
    documents: list[list[int]], tokenizer: Any, context: int, options: CorpusOptions, seed: int
) -> PackedBatches:
    return PackedBatches(
        Documents.from_lists(documents, tokenizer=tokenizer),
        context_length=context,
        rows_per_batch=options.tokens_per_batch // context,
        seed=seed,
        pad_id=tokenizer.pad_token_id,
    )
