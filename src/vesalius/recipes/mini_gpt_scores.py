"""How well mini-gpt predicts held-out text, and how well it answers with demonstrations."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.few_shot import FewShotTask, LabelledRow, find_task, join_examples, load_rows
from vesalius.data.masking import IGNORE

_ItemT = TypeVar("_ItemT")
PROMPT_TOKENS: Final = 256  # the longest context seen in training
_CHARACTERS_PER_TOKEN: Final = 3.4
_ROWS_AT_ONCE: Final = 16
_QUICK_ROWS: Final = 60
_QUICK_PASSAGES: Final = 120
# Final evaluation: the split asked about, and that of the demonstrations. The last three sets
# are never trained on.
EVALUATED: Final = {
    "sst2": ("test", "train"),
    "trec": ("test", "train"),
    "dbpedia": ("test", "train"),
    "agnews": ("test", "train"),
    "amazon": ("test", "train"),
    "rte": ("dev", "train"),
}
NEVER_SEEN: Final = ("agnews", "amazon", "rte")
# While training: rows that the final evaluation does not ask about.
_QUICK: Final = {"sst2": "dev", "amazon": "train", "agnews": "train"}


class TextLoss(NamedTuple):
    """Mean loss of held-out text: nats per token, bits per byte of UTF-8."""

    nats_per_token: float
    bits_per_byte: float
    num_tokens: int


@final
@dataclass(frozen=True, kw_only=True)
class FewShotScore:
    """Accuracies of one task at one number of demonstrations, one for each seed.

    Majority is the share of the most frequent class among the rows asked, chance one class.

    Source: this project.
    """

    task: str
    num_demonstrations: int
    num_rows: int
    accuracies: tuple[float, ...]
    majority: float
    chance: float

    @property
    def median(self) -> float:
        """Return the median over the seeds."""
        return float(np.median(self.accuracies))


def measure_text_loss(
    model: nn.Module, *, tokenizer: Any, texts: Sequence[str], max_length: int = PROMPT_TOKENS
) -> TextLoss:
    """Return the mean loss of a causal model on texts, each alone and cut at `max_length` tokens.

    Raises: VesaliusError when there is no text.

    Source: bits per byte as in the Pile (Gao et al. 2020, arXiv 2101.00027), without the end.
    """
    if not texts:
        raise VesaliusError(given="no text", expected="held-out texts", fix="pass some")
    encoded = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    encoded = sorted((ids for ids in encoded if len(ids) > 1), key=len)
    total, num_tokens, num_bytes = 0.0, 0, 0
    for rows in _chunks(encoded):
        ids, mask = _padded(rows, pad_id=tokenizer.pad_token_id)
        with torch.no_grad():
            logits = model(**_on(model, input_ids=ids, attention_mask=mask)).logits.cpu().float()
        labels = torch.where(mask.bool(), ids, IGNORE)[:, 1:]
        total += nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="sum"
        ).item()
        num_tokens += int((labels != IGNORE).sum())
        num_bytes += sum(len(tokenizer.decode(row[1:]).encode()) for row in rows)
    return TextLoss(total / num_tokens, total / num_bytes / np.log(2), num_tokens)


def label_log_probs(
    model: nn.Module, *, tokenizer: Any, prompts: Sequence[str], words: Sequence[str]
) -> Float[Tensor, "prompt label"]:
    """Return the log-probability, in nats, of each label word after each prompt.

    A word is written after a space and may have several tokens: theirs are added. The tokens of
    all words stand behind the prompt in one row, and a mask keeps the words apart.

    Raises: VesaliusError when there are no words or no prompts.

    Source: this project; a tree of continuations as in SpecInfer (Miao et al. 2023, 2305.09781).
    """
    if not prompts or not words:
        raise VesaliusError(
            given=f"{len(prompts)} prompts and {len(words)} label words",
            expected="at least one of each",
            fix="pass the words of all classes",
        )
    branches = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in words]
    encoded: list[list[int]] = tokenizer(list(prompts))["input_ids"]
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    found = torch.empty(len(prompts), len(words))
    for chosen in _chunks(order):
        found[torch.tensor(chosen)] = _score_rows(
            model, [encoded[i] for i in chosen], branches=branches, pad_id=tokenizer.pad_token_id
        )
    return found


def _score_rows(
    model: nn.Module, rows: list[list[int]], *, branches: list[list[int]], pad_id: int
) -> Float[Tensor, "row label"]:
    tails = [token for branch in branches for token in branch[:-1]]
    owners = [number for number, branch in enumerate(branches) for _ in branch[:-1]]
    depths = [depth for branch in branches for depth in range(len(branch) - 1)]
    longest = max(map(len, rows)) + len(tails)
    ids = torch.full((len(rows), longest), pad_id)
    positions = torch.zeros(len(rows), longest, dtype=torch.long)
    owner = torch.full((len(rows), longest), -2)  # padding; -1 is the prompt
    for i, row in enumerate(rows):
        end = len(row) + len(tails)
        ids[i, :end] = torch.tensor([*row, *tails])
        positions[i, :end] = torch.tensor([*range(len(row)), *(len(row) + d for d in depths)])
        owner[i, :end] = torch.tensor([-1] * len(row) + owners)
    query, key = owner[:, None, :, None], owner[:, None, None, :]
    seen = (query == key) | ((key == -1) & (query != -2))
    seen = seen & torch.ones(longest, longest, dtype=torch.bool).tril()
    mask = torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)
    kept = longest - min(map(len, rows)) + 1  # nothing is read before the end of a prompt
    first = longest - kept
    with torch.no_grad():
        inputs = _on(model, input_ids=ids, position_ids=positions, attention_mask=mask)
        output = model(**inputs, use_cache=False, logits_to_keep=kept)
    log_probs = output.logits.cpu().float().log_softmax(dim=-1)
    found = torch.empty(len(rows), len(branches))
    for i, row in enumerate(rows):
        place = len(row)
        for number, branch in enumerate(branches):
            before = [len(row) - 1, *range(place, place + len(branch) - 1)]
            places = torch.tensor(before) - first
            found[i, number] = log_probs[i, places, torch.tensor(branch)].sum()
            place += len(branch) - 1
    return found


def score_few_shot(
    model: nn.Module,
    *,
    tokenizer: Any,
    task: FewShotTask,
    pool: Sequence[LabelledRow],
    rows: Sequence[LabelledRow],
    num_demonstrations: int,
    seeds: Sequence[int],
) -> FewShotScore:
    """Return the accuracy on `rows` with demonstrations drawn from `pool`, for each seed.

    A seed draws the demonstrations and their order and picks the template, the same ones for all
    rows. Long texts are cut so that the prompt stays within what the model was trained on.

    Raises: VesaliusError when there are no rows, or fewer in the pool than demonstrations.

    Source: Brown et al. 2020 (arXiv 2005.14165).
    """
    if not rows or len(pool) < num_demonstrations:
        raise VesaliusError(
            given=f"{len(rows)} rows and {len(pool)} to draw {num_demonstrations} from",
            expected="rows to ask about, and as many others as demonstrations",
            fix="use a larger split",
        )
    labels = np.array([row.label for row in rows])
    words = task.verbalisers[0]
    accuracies: list[float] = []
    for seed in seeds:
        random = np.random.default_rng(derive_seed(seed, "demonstrations", task.name))
        shown = [pool[i] for i in random.permutation(len(pool))[:num_demonstrations]]
        template = task.templates[seed % len(task.templates)]
        prompts = [
            write_prompt([*shown, row], template=template, words=words, tokenizer=tokenizer)
            for row in rows
        ]
        found = label_log_probs(model, tokenizer=tokenizer, prompts=prompts, words=words)
        accuracies.append(float((found.argmax(dim=1).numpy() == labels).mean()))
    return FewShotScore(
        task=task.name,
        num_demonstrations=num_demonstrations,
        num_rows=len(rows),
        accuracies=tuple(accuracies),
        majority=max(Counter(labels.tolist()).values()) / len(rows),
        chance=1 / len(words),
    )


def write_prompt(
    rows: Sequence[LabelledRow], *, template: str, words: Sequence[str], tokenizer: Any
) -> str:
    """Write demonstrations and a query up to its answer, within `PROMPT_TOKENS` where it can be.

    Source: this project.
    """
    room = int(PROMPT_TOKENS * _CHARACTERS_PER_TOKEN)
    while True:
        written = join_examples(rows, template=template, words=words, max_characters=room)
        prompt = written.text[: written.answers[-1][0]].rstrip(" ")
        if len(tokenizer(prompt)["input_ids"]) <= PROMPT_TOKENS - 8 or room < 200:
            return prompt
        room = int(room * 0.9)


def score_all(
    model: nn.Module,
    *,
    tokenizer: Any,
    data_dir: Path,
    num_rows: int = 200,
    demonstrations: Sequence[int] = (0, 4, 8),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
) -> list[FewShotScore]:
    """Score every task of `EVALUATED` at every number of demonstrations.

    The files' rows are in hash order, so the first ones are a random sample; the rows of a set
    ordered otherwise are drawn by hand in the same way.

    Raises: VesaliusError when a file is missing.

    Source: this project.
    """
    scores: list[FewShotScore] = []
    for name, (asked, shown) in EVALUATED.items():
        task = find_task(name)
        rows = _sample(load_rows(data_dir, task=task, splits=(asked,)), num_rows)
        pool = load_rows(data_dir, task=task, splits=(shown,))
        for count in demonstrations:
            scores.append(
                score_few_shot(
                    model,
                    tokenizer=tokenizer,
                    task=task,
                    pool=pool,
                    rows=rows,
                    num_demonstrations=count,
                    seeds=seeds,
                )
            )
    return scores


def read_quick_rows(data_dir: Path) -> Mapping[str, tuple[list[LabelledRow], list[LabelledRow]]]:
    """Read, by task, the rows to draw demonstrations from and those asked while training.

    Raises: VesaliusError when a file is missing.

    Source: this project.
    """
    found: dict[str, tuple[list[LabelledRow], list[LabelledRow]]] = {}
    for name, split in _QUICK.items():
        rows = _sample(load_rows(data_dir, task=find_task(name), splits=(split,)), 4 * _QUICK_ROWS)
        found[name] = rows[_QUICK_ROWS:], rows[:_QUICK_ROWS]
    return found


def quick_scores(
    model: nn.Module,
    *,
    tokenizer: Any,
    texts: Sequence[str],
    rows: Mapping[str, tuple[list[LabelledRow], list[LabelledRow]]],
) -> dict[str, float]:
    """Return the loss on some held-out text, and few-shot accuracies on a few rows.

    Source: this project.
    """
    step = max(1, len(texts) // _QUICK_PASSAGES)
    loss = measure_text_loss(model, tokenizer=tokenizer, texts=texts[::step])
    scores = {"nats_per_token": loss.nats_per_token, "bits_per_byte": loss.bits_per_byte}
    for name, (pool, asked) in rows.items():
        score = score_few_shot(
            model,
            tokenizer=tokenizer,
            task=find_task(name),
            pool=pool,
            rows=asked,
            num_demonstrations=4,
            seeds=(0, 1),
        )
        scores[f"{name}_accuracy"] = score.median
        scores[f"{name}_majority"] = score.majority
    return scores


def _sample(rows: list[LabelledRow], count: int) -> list[LabelledRow]:
    order = np.random.default_rng(0).permutation(len(rows))[:count]
    return [rows[i] for i in order]


def _chunks(items: Sequence[_ItemT]) -> Iterator[list[_ItemT]]:
    for start in range(0, len(items), _ROWS_AT_ONCE):
        yield list(items[start : start + _ROWS_AT_ONCE])


def _padded(rows: list[list[int]], *, pad_id: int) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


def _on(model: nn.Module, **tensors: Tensor) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in tensors.items()}
