"""Models, texts and planes of ``landscape.py``, and other people's ways to measure a point."""

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers as hf
from torch import Tensor, nn
from torch.nn import functional

import vesalius
from vesalius.data.labelled import LabelledData, LabelledSplit, load_labelled
from vesalius.methods.loss_landscape.examples import Examples
from vesalius.methods.loss_landscape.frame import Frame, make_frame
from vesalius.models.specimen import Specimen

PADDED = 128  # tokens to which the public re-implementations pad every text
BATCH_ROWS = 32  # of theirs; 32 x 128 are the 4,096 tokens of one of our batches
Weights = dict[str, Tensor]
Inputs = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    bert: dict[str, int]  # sizes of the larger shape; none are those of BERT-base
    num_examples: tuple[int, ...]  # of whole points
    plane_steps: dict[int, int]  # of the package's plane, by number of examples
    group_examples: int
    group_points: int
    grid: tuple[int, int]
    grid_examples: int
    tolerances: tuple[float, ...]  # nats
    timed_tolerance: float
    stacked_points: int
    worker_examples: int
    worker_points: int


FULL = Sizes(
    bert={},
    num_examples=(32, 512, 4096),
    plane_steps={32: 6, 512: 2, 4096: 1},
    group_examples=512,
    group_points=8,
    grid=(40, 40),  # 1,600 points, as many as the paper's
    grid_examples=64,
    tolerances=(0.01, 0.02, 0.05, 0.1),
    timed_tolerance=0.05,
    stacked_points=64,
    worker_examples=256,
    worker_points=144,
)
QUICK = Sizes(
    bert={
        **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
        **{"num_attention_heads": 2, "vocab_size": 500},
    },
    num_examples=(4, 8),
    plane_steps={4: 2, 8: 1},
    group_examples=8,
    group_points=2,
    grid=(9, 7),
    grid_examples=4,
    tolerances=(0.05, 0.2),
    timed_tolerance=0.2,
    stacked_points=32,
    worker_examples=4,
    worker_points=4,
)


def classifier() -> Specimen:
    """The bundled classifier, mini-bert fine-tuned: the weights that a user without others has."""
    return vesalius.open("mini-classifier")


def linears(specimen: Specimen) -> list[tuple[int, int]]:
    """Inputs and outputs of the linear maps of its blocks, ModernBERT's."""
    width, inner = specimen.model.config.hidden_size, specimen.model.config.intermediate_size
    return [(width, 3 * width), (width, width), (width, 2 * inner), (inner, width)]


def bert_base(sizes: Sizes) -> nn.Module:
    """An untrained classifier of BERT-base's shape: only the sizes count for moving it."""
    torch.manual_seed(0)
    return hf.BertForSequenceClassification(hf.BertConfig(**sizes.bert)).eval()


def opinions(count: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The bundled praise and blame of films, over and over, and its classes."""
    train = load_labelled("opinions").splits["train"]
    turns = itertools.cycle(zip(train.texts, train.labels, strict=True))
    rows = list(itertools.islice(turns, count))
    return tuple(text for text, _ in rows), tuple(label for _, label in rows)


def examples_of(specimen: Specimen, count: int) -> Examples:
    """So many opinions as ``train``, in the library's own batches; nothing is held out."""
    texts, labels = opinions(count)
    split = LabelledSplit(texts=texts, pairs=None, labels=labels)
    data = LabelledData(
        name="opinions",
        label_names=load_labelled("opinions").label_names,
        splits={"train": split, "dev": split},
        columns=("text", "label"),
        notes=(),
    )
    both = Examples.of_labelled(specimen, data, max_train=0, max_held_out=1)
    return Examples.of_batches({"train": both.batches("train")}, name="opinions")


def padded_batches(specimen: Specimen, count: int) -> list[Inputs]:
    """The same opinions as the re-implementations batch them: each of 128 tokens, by 32."""
    texts, labels = opinions(count)
    batches: list[Inputs] = []
    for first in range(0, count, BATCH_ROWS):
        rows = slice(first, first + BATCH_ROWS)
        encoded = specimen.tokenizer(
            list(texts[rows]), padding="max_length", max_length=PADDED, truncation=True,
            return_tensors="pt",
        )  # fmt: skip
        kept = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        batches.append(kept | {"labels": torch.tensor(labels[rows])})
    return batches


def num_tokens(batches: Sequence[Inputs]) -> int:
    """Tokens of all batches, padding among them."""
    return sum(batch["input_ids"].numel() for batch in batches)


def plane(specimen: Specimen, moved: str = "encoder") -> Frame:
    """From mini-bert towards the classifier, and a random direction beside it."""
    return make_frame(specimen, ("solution", "random"), start="mini-bert", moved=moved)


def points_of(count: int) -> list[tuple[float, float]]:
    """Points in the plane, none of them the origin or the solution."""
    generator = np.random.default_rng(0)
    return [(float(a), float(b)) for a, b in generator.uniform(-0.5, 1.5, size=(count, 2))]


def moved_weights(frame: Frame) -> tuple[Weights, list[Weights]]:
    """Origin and axes of a frame as plain dicts of tensors, as other tools keep them."""
    copies = [{n: t.clone() for n, t in weights.items()} for weights in frame.directions]
    return {n: t.clone() for n, t in frame.origin.items()}, copies


def deep_copied(
    model: nn.Module, origin: Weights, axes: Sequence[Weights], point: Sequence[float]
) -> nn.Module:
    """A point as two public re-implementations of the paper make it: a copy with another state.

    They also read the state dict from the disk or carry the model to a device and back; that is
    left out here, in their favour.
    """
    copied = copy.deepcopy(model)
    state = copied.state_dict()
    for name, start in origin.items():
        state[name] = start + point[0] * axes[0][name] + point[1] * axes[1][name]
    copied.load_state_dict(state)
    return copied


def rebuilt(
    parameters: dict[str, nn.Parameter],
    origin: Weights,
    axes: Sequence[Weights],
    point: Sequence[float],
) -> None:
    """A point made in place, tensor by tensor: copy the origin, add one axis, add the other."""
    with torch.no_grad():
        for name, start in origin.items():
            target = parameters[name]
            target.copy_(start)
            for coefficient, axis in zip(point, axes, strict=True):
                target.add_(axis[name], alpha=coefficient)


def mean_loss(model: nn.Module, batches: Sequence[Inputs]) -> float:
    """The mean loss over batches, weighted by their rows: the reference for every way."""
    total = 0.0
    with torch.no_grad():
        for batch in batches:
            inputs = {name: value for name, value in batch.items() if name != "labels"}
            logits = model(**inputs).logits
            total += float(functional.cross_entropy(logits, batch["labels"], reduction="sum"))
    return total / sum(len(batch["labels"]) for batch in batches)


def package_way(
    specimen: Specimen, frame: Frame, batches: Sequence[Inputs], steps: int
) -> Callable[[], float] | None:
    """The plane of the package loss-landscapes through the same three models, where installed.

    It moves one copy of the model in place; the point compared is (0, 1), the last of its first
    row. ``deepcopy_model=True``, for without it the user's model stays where the last point was.
    """
    try:
        from loss_landscapes import planar_interpolation
    except ImportError:
        return None
    origin, axes = moved_weights(frame)
    start, one, two = (
        deep_copied(specimen.model, origin, axes, point) for point in ((0, 0), (1, 0), (0, 1))
    )

    def metric(wrapped: Any) -> float:
        return mean_loss(wrapped.modules[0], batches)

    def run() -> float:
        found = planar_interpolation(start, one, two, metric, steps=steps, deepcopy_model=True)
        return float(found[0][-1])

    return run


@dataclass(frozen=True, kw_only=True)
class SmallNet:
    """A net for stacked points: its batch and what is measured."""

    name: str
    model: nn.Module
    batch: Inputs

    def measure(self, model: nn.Module, batch: Inputs) -> Inputs:
        """Give the loss of each example."""
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        out = model(inputs["x"]) if "x" in inputs else model(**inputs).logits
        return {"loss": functional.cross_entropy(out, batch["labels"], reduction="none")}


def small_nets(*, quick: bool) -> list[SmallNet]:
    """Plain nets and BERTs, from hardly any work for a kernel to plenty."""
    nets = [_plain(8, 64), _plain(32, 8), _plain(32, 512), _plain(512, 64)]
    nets += [_bert(16, 2, 4, 8), _bert(32, 2, 8, 16), _bert(64, 2, 8, 16), _bert(64, 2, 32, 16)]
    nets += [_bert(112, 6, 8, 16)]
    return [nets[0], nets[4]] if quick else nets


def _plain(width: int, rows: int) -> SmallNet:
    torch.manual_seed(0)
    layers = [nn.Linear(20, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()]
    return SmallNet(
        name=f"plain net, width {width}, {rows} rows",
        model=nn.Sequential(*layers, nn.Linear(width, 4)).eval(),
        batch={"x": torch.randn(rows, 20), "labels": torch.arange(rows) % 4},
    )


def _bert(width: int, num_layers: int, rows: int, length: int) -> SmallNet:
    torch.manual_seed(0)
    config = hf.BertConfig(
        hidden_size=width, num_hidden_layers=num_layers, num_attention_heads=4, vocab_size=97,
        intermediate_size=2 * width, max_position_embeddings=64, num_labels=4,
    )  # fmt: skip
    ids = torch.randint(97, (rows, length))
    return SmallNet(
        name=f"BERT, {num_layers} layers of {width}, {rows} x {length} tokens",
        model=hf.BertForSequenceClassification(config).eval(),
        batch={
            "input_ids": ids, "attention_mask": torch.ones_like(ids),
            "labels": torch.arange(rows) % 4,
        },
    )  # fmt: skip
