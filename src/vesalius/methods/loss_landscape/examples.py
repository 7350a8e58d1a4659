"""The examples that every point of a landscape is measured on: chosen once, batched by length.

All points see the same examples in the same batches, so that differences between points are not
the noise of a new draw, and little of the work is padding.

Source: this project; common random numbers.
"""

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor, nn

from vesalius.core.checks import check_word
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.labelled import LabelledData, LabelledSplit
from vesalius.data.labelled_batches import encode_labelled
from vesalius.methods.loss_landscape.measures import (
    LOSS,
    Inputs,
    Measure,
    Metric,
    classification,
    find_metric,
    masked_tokens,
    next_tokens,
)
from vesalius.methods.loss_landscape.splits import (
    Split,
    as_split,
    batched,
    check_classifier,
    draw,
    limit,
    no_examples,
    with_targets,
)
from vesalius.models.kernels import short_attention
from vesalius.models.lower_cache import LowerCache
from vesalius.models.specimen import Specimen
from vesalius.parallel.memory import DEFAULT_BYTES

TRAIN: Final = "train"
HELD_OUT: Final = "held_out"
SPLITS: Final = (TRAIN, HELD_OUT)

Values = dict[str, dict[str, Float32[np.ndarray, " example"]]]  # split -> measure -> [example]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """A fixed set of examples, split into ``train`` and ``held_out``, and what is measured of them.

    ``kind`` names the measure; for ``custom`` ones it is the user's own function.
    """

    name: str
    kind: str
    splits: Mapping[str, Split]
    measure_of: Measure
    metrics: Mapping[str, str]  # the name that finds a metric again, "" for a function at hand

    @classmethod
    def of_labelled(
        cls,
        specimen: Specimen,
        data: LabelledData,
        *,
        max_train: int = 512,
        max_held_out: int = 512,
        held_out: str = "dev",
        seed: int = 0,
        max_length: int = 128,
        batch_tokens: int = 4096,
        metrics: Mapping[str, Metric | str] | None = None,
    ) -> "Examples":
        """Draw labelled texts for a classifier.

        Args:
            specimen: a classifier with its tokenizer.
            data: the texts; ``train`` and the split that ``held_out`` names are drawn from.
            max_train: how many of train; 0 takes all.
            max_held_out: how many of the other split; 0 takes all.
            held_out: ``dev`` or ``test``.
            seed: of the draw.
            max_length: tokens after which a text is cut.
            batch_tokens: tokens of a batch, with padding.
            metrics: more measures, functions of logits [example, label] and classes [example], or
                importable names such as ``package.module:function``.

        Raises:
            VesaliusError: no such split, no tokenizer, another number of classes than the model's.

        Source: arXiv 1908.05620, section 3 (loss of train, error of held-out data).
        """
        check_word("held_out", held_out, ("dev", "test"))
        check_classifier(specimen, data, held_out)
        given = dict(metrics or {})
        found = {name: find_metric(name, metric) for name, metric in given.items()}
        splits: dict[str, Split] = {}
        for name, source, most in ((TRAIN, TRAIN, max_train), (HELD_OUT, held_out, max_held_out)):
            drawn = draw(data.splits[source], most, seed=derive_seed(seed, "examples", name))
            encoded = encode_labelled(
                drawn, tokenizer=specimen.tokenizer, max_length=limit(specimen, max_length)
            )
            splits[name] = batched(specimen, encoded, batch_tokens, labels=np.array(drawn.labels))
        return cls(
            name=data.name,
            kind="classification",
            splits=splits,
            measure_of=classification(found),
            metrics={name: m if isinstance(m, str) else "" for name, m in given.items()},
        )

    @classmethod
    def of_texts(
        cls,
        specimen: Specimen,
        train: Sequence[str],
        held_out: Sequence[str] = (),
        *,
        seed: int = 0,
        max_length: int = 128,
        batch_tokens: int = 4096,
    ) -> "Examples":
        """Take texts for a masked or causal language model: loss in nats per token of each text.

        A masked model is asked for 15 % of the tokens of each text, at least one, drawn once.

        Raises:
            VesaliusError: no texts, a text that is too short, or another kind of model.

        Source: Devlin et al. 2019, section 3.1 (the share); this project.
        """
        if specimen.task not in ("masked-lm", "causal-lm"):
            raise VesaliusError(
                given=f"{specimen.name}, a model with the task {specimen.task!r}",
                expected="a masked or a causal language model",
                fix="give labelled data to a classifier, Examples.of_batches for anything else",
            )
        splits: dict[str, Split] = {}
        for name, texts in ((TRAIN, train), (HELD_OUT, held_out)):
            if isinstance(texts, str) or (name == TRAIN and not texts):
                raise no_examples("one text, no list of them" if texts else "no texts")
            if texts:
                rows = LabelledSplit(texts=tuple(texts), pairs=None, labels=(0,) * len(texts))
                encoded = encode_labelled(
                    rows, tokenizer=specimen.tokenizer, max_length=limit(specimen, max_length)
                )
                split = batched(specimen, encoded, batch_tokens, labels=None)
                generator = torch.Generator().manual_seed(derive_seed(seed, "masks", name))
                splits[name] = with_targets(specimen, split, generator)
        masked = specimen.task == "masked-lm"
        return cls(
            name=f"{len(train)} texts",
            kind=specimen.task,
            splits=splits,
            measure_of=masked_tokens if masked else next_tokens,
            metrics={},
        )

    @classmethod
    def of_batches(
        cls,
        batches: Mapping[str, Sequence[Inputs]],
        *,
        measure: Measure | None = None,
        name: str = "batches",
    ) -> "Examples":
        """Take batches as they are: images, own measures, whatever the model reads.

        Args:
            batches: by split, ``train`` and perhaps ``held_out``, mappings of tensors
                [example, ...] that ``measure`` understands.
            measure: ``measure(model, batch)`` gives ``{"loss": [example], ...}``; without it the
                batches are those of a classifier, with ``labels`` [example].

        Raises:
            VesaliusError: no batch, or a split of another name.

        Source: this project.
        """
        for split, found in batches.items():
            check_word("split", split, SPLITS)
            if not found:
                raise no_examples(f"split {split!r} without a batch")
        if TRAIN not in batches:
            raise no_examples(f"batches of {', '.join(batches) or 'no split'}")
        return cls(
            name=name,
            kind="custom" if measure else "classification",
            splits={split: as_split(tuple(found)) for split, found in batches.items()},
            measure_of=measure or classification({}),
            metrics={},
        )

    @property
    def is_portable(self) -> bool:
        """Whether another process can measure the same: no function of the user's at hand."""
        return self.kind != "custom" and all(self.metrics.values())

    @property
    def num_examples(self) -> dict[str, int]:
        """How many examples each split holds."""
        return {name: len(split) for name, split in self.splits.items()}

    @property
    def labels(self) -> dict[str, Int[np.ndarray, " example"]]:
        """The classes of the examples by split, where they have one."""
        return {n: split.labels for n, split in self.splits.items() if split.labels is not None}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all batches, their order and the measure, in 16 hexadecimal digits."""
        digest = hashlib.sha256(f"{self.kind} {sorted(self.metrics.items())}".encode())
        for name, split in self.splits.items():
            digest.update(name.encode() + split.order.astype("<i8").tobytes())
            for batch in split.batches:
                for key, value in sorted(batch.items()):
                    digest.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
                    digest.update(value.contiguous().cpu().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def batches(self, split: str = TRAIN) -> tuple[Inputs, ...]:
        """Give the batches of a split, tensors [example, ...] by name.

        Raises:
            VesaliusError: no such split.
        """
        check_word("split", split, tuple(self.splits))
        return self.splits[split].batches

    def losses(self, model: nn.Module, batch: Inputs) -> Float[Tensor, " example"]:
        """Give the loss of each example of a batch, differentiable; no averaging."""
        return self.measure_of(model, batch)[LOSS]

    def measure(self, specimen: Specimen, *, splits: Sequence[str] | None = None) -> Values:
        """Measure the model where it stands: by split and measure, [example] in their order.

        Raises:
            VesaliusError: what :meth:`measuring` refuses.
        """
        with self.measuring(specimen) as measured:
            return measured(splits)

    @contextmanager
    def measuring(
        self, specimen: Specimen, *, first_layer: int = 0, memory_bytes: int = DEFAULT_BYTES
    ) -> Generator[Callable[..., Values], None, None]:
        """Hand over ``measured(splits=None)``, which measures the model where it then stands.

        Args:
            specimen: the model; evaluation mode without gradients meanwhile.
            first_layer: the lowest block whose weights will change; what enters it is kept, and
                the blocks below do not run again.
            memory_bytes: what may be kept.

        Source: this project.
        """
        with (
            specimen.at_rest(),
            torch.no_grad(),
            self.kernel(specimen),
            LowerCache(specimen, from_layer=first_layer, memory_bytes=memory_bytes) as cache,
        ):

            def measured(splits: Sequence[str] | None = None) -> Values:
                chosen = self.splits if splits is None else splits
                return {name: self._measured(specimen, name, cache) for name in chosen}

            yield measured

    def kernel(self, specimen: Specimen) -> Any:
        """Give the context in which attention runs: the plain kernel for short texts on CPU."""
        longest = max(
            (b["input_ids"].shape[-1] for s in self.splits.values() for b in s.batches
             if "input_ids" in b), default=0,
        )  # fmt: skip
        return short_attention(specimen.device.type, longest=longest)

    def _measured(
        self, specimen: Specimen, name: str, cache: LowerCache
    ) -> dict[str, Float32[np.ndarray, " example"]]:
        split = self.splits[name]
        found: dict[str, list[Tensor]] = {}
        for place, batch in enumerate(split.batches):
            here = {key: value.to(specimen.device) for key, value in batch.items()}
            with cache.of((name, place)):
                for measure, values in self.measure_of(specimen.model, here).items():
                    found.setdefault(measure, []).append(values.float())
        measured: dict[str, Float32[np.ndarray, " example"]] = {}
        for measure, parts in found.items():
            array = np.empty(len(split), dtype=np.float32)
            array[split.order] = torch.cat(parts).cpu().numpy()
            measured[measure] = array
        return measured
