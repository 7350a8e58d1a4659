"""A model laid open: the loaded Transformer with its tokenizer, parts, plan and fingerprint."""

import hashlib
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models.batch import Batch
from vesalius.models.ladder import accepts
from vesalius.models.parts import Parts, find_parts
from vesalius.models.plan import Plan, make_plan

Task = Literal["masked-lm", "causal-lm", "seq2seq-lm", "classifier", "image-classifier"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Specimen:
    """A Transformer that methods can work on.

    ``model`` is the live model; ``tokenizer`` is None for vision models and for live models that
    came without one; ``name`` is what the user called it, without the path of a machine.
    """

    model: nn.Module
    tokenizer: Any
    name: str
    task: Task

    @cached_property
    def parts(self) -> Parts:
        """The parts table, found at first use."""
        return find_parts(self.model)

    @property
    def plan(self) -> Plan:
        """How the staircase climbs this model: probed at first use, and again when hooks change."""
        hooks = _hooks_of(self.model)
        known: tuple[object, Plan] | None = self.__dict__.get("_plan")
        if known is None or known[0] != hooks:
            with self.at_rest():
                plan = make_plan(self.model, self.parts, self.probe())
            self.__dict__["_plan"] = known = (hooks, plan)
        return known[1]

    @property
    def num_layers(self) -> int:
        """How many block calls one forward pass makes, encoder and decoder together."""
        return len(self.plan.calls)

    @property
    def device(self) -> torch.device:
        """Where the inputs belong."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights."""
        return next(p.dtype for p in self.model.parameters() if p.is_floating_point())

    @cached_property
    def max_tokens(self) -> int | None:
        """How many tokens the longest text may have; None where nothing limits it.

        RoBERTa and its kin count positions from behind the padding index.
        """
        config: Any = self.model.config
        limit: int | None = getattr(config, "max_position_embeddings", None) or None
        for name, module in self.model.named_modules():
            is_positions = "position_embeddings" in name.rpartition(".")[2]
            if is_positions and isinstance(module, nn.Embedding) and module.padding_idx is not None:
                usable = module.num_embeddings - module.padding_idx - 1
                limit = usable if limit is None else min(limit, usable)
        return limit

    @property
    def fingerprint(self) -> str:
        """A short hash of all weights, names and shapes; any changed bit changes it."""
        return fingerprint(self.model)

    @contextmanager
    def at_rest(self) -> Generator[None, None, None]:
        """Hold the model in evaluation mode without parameter gradients; undone on exit.

        One thread at a time: another that wants the same model waits.

        Source: the promise that a user's live model comes back as it was.
        """
        with _lock_of(self.model), torch.inference_mode(False):
            training = {m: m.training for m in self.model.modules()}
            wanted = [p for p in self.model.parameters() if p.requires_grad]
            self.model.eval()
            for parameter in wanted:
                parameter.requires_grad_(False)
            try:
                yield
            finally:
                for parameter in wanted:
                    parameter.requires_grad_(True)
                for module, mode in training.items():
                    module.training = mode

    def probe(self) -> Batch:
        """Make a tiny batch of random inputs for this model, one of them padded.

        Source: the probe of docs/architecture.md.
        """
        generator = torch.Generator().manual_seed(0)
        num_prompts, num_tokens = 5, 7  # two numbers that no other axis is likely to have
        if self.task == "image-classifier":
            return self._image_probe(num_prompts, generator)
        num_vocab = self.parts.num_vocab or 32
        ids = torch.randint(min(5, num_vocab - 1), num_vocab, (num_prompts, num_tokens),
                            generator=generator)  # fmt: skip
        mask = torch.ones_like(ids)
        last = torch.full((num_prompts,), num_tokens - 1)
        if self.task == "causal-lm":
            mask[0, :2] = 0
            row = last
        else:
            mask[0, -2:] = 0
            row = torch.zeros_like(last) if self.task == "classifier" else torch.arange(5) % 4
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self.task == "causal-lm" and accepts(self.model, "position_ids"):
            inputs["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)
        decoder_row = None
        end = getattr(self.model.config, "eos_token_id", None)
        if self.task == "classifier" and isinstance(end, int):  # BART and T5 read there
            ids[ids == end] = num_vocab - 1 - (end == num_vocab - 1)
            ids[torch.arange(num_prompts), mask.sum(1) - 1] = end
        elif self.parts.is_encoder_decoder and accepts(self.model, "decoder_input_ids"):
            inputs["decoder_input_ids"] = ids[:, :3].clone()
            decoder_row = torch.ones_like(row)
        return Batch(inputs=inputs, row=row, decoder_row=decoder_row).to(self.device)

    def _image_probe(self, num_prompts: int, generator: torch.Generator) -> Batch:
        config: Any = self.model.config
        size = config.image_size if isinstance(config.image_size, int) else config.image_size[0]
        shape = (num_prompts, getattr(config, "num_channels", 3), size, size)
        pixels = torch.randn(shape, generator=generator).to(self.dtype)
        row = torch.zeros(num_prompts, dtype=torch.long)
        return Batch(inputs={"pixel_values": pixels}, row=row).to(self.device)


_LOCKS: "WeakKeyDictionary[nn.Module, threading.RLock]" = WeakKeyDictionary()


def _lock_of(model: nn.Module) -> Any:
    return _LOCKS.setdefault(model, threading.RLock())


def _hooks_of(model: nn.Module) -> tuple[int, ...]:
    """The hooks that others have put on a model: with new ones a plan may no longer hold."""
    return tuple(
        key
        for module in model.modules()
        for name in ("_forward_hooks", "_forward_pre_hooks")
        for key in vars(module)[name]
    )


def task_of(model: nn.Module) -> Task:
    """Tell from the class of a model what its head does.

    Raises:
        VesaliusError: a model without a language-model or classification head.

    Source: the class names of the transformers library.
    """
    name = type(getattr(model, "get_base_model", lambda: model)()).__name__
    if "ImageClassification" in name:
        return "image-classifier"
    if "ForSequenceClassification" in name:
        return "classifier"
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        if "ForConditionalGeneration" in name:
            return "seq2seq-lm"
    elif "ForMaskedLM" in name:
        return "masked-lm"
    elif "LMHead" in name or "ForCausalLM" in name:
        return "causal-lm"
    raise VesaliusError(
        given=f"a {name}: no language-model or classification head",
        expected="a model with a masked-LM, causal-LM, sequence-to-sequence or classifier head",
        fix="load it through AutoModelForMaskedLM, AutoModelForCausalLM or another head class",
    )


def fingerprint(model: nn.Module) -> str:
    """Hash names, shapes and every bit of the weights, in 16 hexadecimal digits.

    Each tensor enters through two sums over its bytes, one weighted by position, so that the
    cost is one pass over memory.

    Source: this project; not a cryptographic signature.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(repr(_sums(tensor)).encode())
    return digest.hexdigest()[:16]


_FACTOR: Final = 0x9E3779B9
_WORDS_AT_ONCE: Final = 1 << 15  # 256 KiB: the three passes below stay in the cache
_PLACES: Final = np.arange(_WORDS_AT_ONCE, dtype=np.int64)


def _sums(tensor: Tensor) -> tuple[int, int]:
    """Sum the 64-bit words of a tensor, once plainly, once each times its odd weight, modulo 2^64.

    Word i, from 1, weighs i times the factor, made odd, so that no bit is lost.
    """
    flat = tensor.detach().contiguous().cpu().reshape(-1)
    if flat.storage_offset() * flat.element_size() % 8:
        flat = flat.clone()
    flat = flat.view(torch.uint8)
    if flat.numel() % 8:
        flat = torch.cat((flat, flat.new_zeros(8 - flat.numel() % 8)))
    words = flat.view(torch.int64).numpy()
    total = placed = even = 0
    for first in range(0, len(words), _WORDS_AT_ONCE):
        chunk = words[first : first + _WORDS_AT_ONCE]
        plain = int(chunk.sum())
        total += plain
        placed += int(np.dot(chunk, _PLACES[: len(chunk)])) + (first + 1) * plain
        even += int(chunk[1::2].sum())  # an even place makes the product even: one more
    return _signed(total), _signed(_FACTOR * placed + even)


def _signed(number: int) -> int:
    """A whole number as the 64 bits that torch's int64 would hold."""
    number %= 1 << 64
    return number - (1 << 64) if number >> 63 else number
