"""The model, the prompts and the reference values of ``benchmarks/attribution.py``."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from attribution_rivals import clean_attention, paper_attention_seam
from torch import Tensor, nn

from vesalius.models.batch import Batch
from vesalius.models.specimen import Specimen
from vesalius.numerics.quadrature import Rule

SEED = 0
MASK_ID = 103


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a benchmark run."""

    config: dict[str, int]
    neuron_tokens: int
    attention_tokens: int
    padded_tokens: int
    explanation_points: int
    reference_nodes: int

    @property
    def num_layers(self) -> int:
        """Blocks of the model."""
        return self.config["num_hidden_layers"]

    def linears(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the six linear maps of a block."""
        d_model, d_ff = self.config["hidden_size"], self.config["intermediate_size"]
        return [(d_model, d_model)] * 4 + [(d_model, d_ff), (d_ff, d_model)]


FULL = Shape(
    config={
        "vocab_size": 28996,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
    neuron_tokens=16,
    attention_tokens=32,
    padded_tokens=128,
    explanation_points=64,
    reference_nodes=200,
)
QUICK = Shape(
    config={
        "vocab_size": 500,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    },
    neuron_tokens=8,
    attention_tokens=10,
    padded_tokens=24,
    explanation_points=32,
    reference_nodes=40,
)

# Random weights. The library's own std of 0.02 gives curves smoother than trained models have, and
# probabilities near 1/vocabulary. With 0.03 in the blocks and 0.1 in the (untied) output layer the
# most probable token has 0.04 at the mask, and 20 left Riemann points err by 2 % in the median
# layer: about what they err by on trained models (1.4 %, median of a trained 6-layer BERT).
BLOCK_STD = 0.03
OUTPUT_STD = 0.1


def make_model(shape: Shape) -> nn.Module:
    """A BERT for masked words with random weights, in single precision."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        config = hf.BertConfig(**shape.config, tie_word_embeddings=False)
        model = hf.BertForMaskedLM(config).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(std=BLOCK_STD)
        model.cls.predictions.decoder.weight.data.normal_(std=OUTPUT_STD)
    return model


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt with one mask, and the token whose probability there is explained."""

    ids: Tensor
    row: int
    answer: int

    @property
    def num_tokens(self) -> int:
        """Length without padding."""
        return self.ids.shape[1]

    def inputs(self, length: int | None = None) -> dict[str, Tensor]:
        """Model inputs, padded at the right to ``length`` where one is given."""
        ids = self.ids
        mask = torch.ones_like(ids)
        if length is not None:
            ids = nn.functional.pad(ids, (0, length - self.num_tokens))
            mask = nn.functional.pad(mask, (0, length - self.num_tokens))
        return {"input_ids": ids, "attention_mask": mask}

    def batch(self) -> Batch:
        """The prompt as the library takes it."""
        return Batch(inputs=self.inputs(), row=torch.tensor([self.row]))

    def objective(self, logits: Tensor, _prompt: Tensor) -> Tensor:
        """Probability of the answer."""
        return logits.softmax(-1)[:, self.answer]


def make_prompt(model: nn.Module, num_tokens: int) -> Prompt:
    """Random word pieces with a mask in the middle; the answer is the model's first choice."""
    generator = torch.Generator().manual_seed(SEED + num_tokens)
    num_vocab = model.config.vocab_size
    ids = torch.randint(min(1000, num_vocab // 2), num_vocab, (1, num_tokens), generator=generator)
    row = num_tokens // 2
    ids[0, row] = MASK_ID
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, row]
    return Prompt(ids=ids, row=row, answer=int(logits.argmax()))


def make_specimen(model: nn.Module) -> Specimen:
    """Open a live model and make its plan, which is done once per model."""
    specimen = Specimen(model=model, tokenizer=None, name="bert", task="masked-lm")
    specimen.plan  # noqa: B018 - probed now, not in the timed part
    return specimen


def double_copy(model: nn.Module) -> nn.Module:
    """The same weights in double precision."""
    return copy.deepcopy(model).double()


def neuron_reference(model: nn.Module, prompt: Prompt, rule: Rule, *, chunk: int) -> list[Tensor]:
    """Neuron attributions layer by layer, replayed from the clean states: no staircase in it."""
    states, neurons = _clean(model, prompt)
    found = []
    for layer, (hidden, signal) in enumerate(zip(states, neurons, strict=True)):
        mean = torch.zeros_like(signal)
        for nodes, weights in _chunks(rule, chunk, signal):
            points = (nodes[:, None] * signal).requires_grad_()

            def put(_module: nn.Module, args: tuple[Any, ...], points: Tensor = points) -> Any:
                changed = args[0].clone()
                changed[:, prompt.row] = points
                return (changed,)

            linear = model.bert.encoder.layer[layer].output.dense
            hook = linear.register_forward_pre_hook(put)
            value = _replay(model, prompt, layer, hidden.expand(len(nodes), -1, -1))
            hook.remove()
            mean += weights @ torch.autograd.grad(value.sum(), points)[0]
        found.append(signal * mean)
    return found


def attention_reference(
    model: nn.Module, prompt: Prompt, rule: Rule, *, chunk: int
) -> list[Tensor]:
    """Attention attributions [head, query, key] layer by layer, replayed; no staircase in it."""
    states, _ = _clean(model, prompt)
    found = []
    with paper_attention_seam(model) as replaced:
        for layer, hidden in enumerate(states):
            signal = clean_attention(model, prompt.inputs(), layer)
            module = model.bert.encoder.layer[layer].attention.self
            mean = torch.zeros_like(signal)
            for nodes, weights in _chunks(rule, chunk, signal):
                points = (nodes[:, None, None, None] * signal).requires_grad_()
                replaced[module] = points
                value = _replay(model, prompt, layer, hidden.expand(len(nodes), -1, -1))
                del replaced[module]
                gradient = torch.autograd.grad(value.sum(), points)[0]
                mean += torch.tensordot(weights, gradient, dims=1)
            found.append(signal * mean)
    return found


def _clean(model: nn.Module, prompt: Prompt) -> tuple[list[Tensor], list[Tensor]]:
    """The states that enter each block, [1, position, d_model], and its neurons at the mask."""
    model.requires_grad_(False)
    states: list[Tensor] = []
    neurons: list[Tensor] = []
    hooks = []
    for layer in model.bert.encoder.layer:
        hooks.append(layer.register_forward_pre_hook(lambda _m, args: states.append(args[0])))
        hooks.append(
            layer.output.dense.register_forward_pre_hook(
                lambda _m, args: neurons.append(args[0][0, prompt.row])
            )
        )
    model(**prompt.inputs())
    for hook in hooks:
        hook.remove()
    return states, neurons


def _chunks(rule: Rule, size: int, like: Tensor) -> Any:
    nodes, weights = rule.tensors(like=like)
    return zip(nodes.split(size), weights.split(size), strict=True)


def _replay(model: nn.Module, prompt: Prompt, layer: int, hidden: Tensor) -> Tensor:
    """From the states that enter a block to the probability of the answer; nothing is padded."""
    for block in model.bert.encoder.layer[layer:]:
        hidden = block(hidden, None)
        hidden = hidden if isinstance(hidden, Tensor) else hidden[0]
    logits = model.cls(hidden[:, prompt.row])
    return logits.softmax(-1)[:, prompt.answer]
