"""Train the bundled causal language models: three sizes, the same tokens in the same order."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.data.masking import IGNORE
from vesalius.data.tokenizer import train_bpe_tokenizer
from vesalius.recipes.mini_gpt_corpus import (
    CorpusOptions,
    MiniGptBatches,
    MiniGptTexts,
    collect_texts,
    make_batches,
)
from vesalius.training.config import TrainingOptions
from vesalius.training.loop import TrainingSummary, train
from vesalius.training.random_state import seeded

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

MAX_POSITIONS: Final = 512
HEAD_SIZE: Final = 64
_TRAINING: Final = TrainingOptions(
    num_steps=2800,  # 11.5 M tokens: what the machine gives in an hour (decided before the run)
    micro_batches=2,
    optimizer="muon",
    lr=5e-3,  # after 30 steps of the tiny one 6.9 nats, with 2e-3 7.3
    muon_lr=0.02,
    weight_decay=0.05,
    decay_share=0.4,  # inside the second phase
    compile=True,
    evaluate_every=400,
    checkpoint_every=200,
)


@final
@dataclass(frozen=True, kw_only=True)
class MiniGptPreset:
    """Sizes of the model and the length of its training.

    `first_steps` of the training's steps read the first phase of the corpus.

    Source: this project; widths and contexts were measured on two CPU cores.
    """

    d_model: int
    num_layers: int
    d_ff: int
    vocab_size: int = 4096
    first_steps: int = 1300
    corpus: CorpusOptions = field(default_factory=CorpusOptions)
    training: TrainingOptions = _TRAINING

    @property
    def num_heads(self) -> int:
        """Count the attention heads."""
        return max(1, self.d_model // HEAD_SIZE)


PRESETS: Final = {
    "mini-gpt": MiniGptPreset(d_model=192, num_layers=5, d_ff=512),
    "mini-gpt-small": MiniGptPreset(d_model=128, num_layers=4, d_ff=352),
    "mini-gpt-tiny": MiniGptPreset(d_model=64, num_layers=3, d_ff=176),
}


@final
@dataclass(frozen=True, kw_only=True)
class MiniGptRun:
    """A finished (or paused) run: the folder of the work, what it read, what the loop did.

    Source: this project.
    """

    name: str
    preset: MiniGptPreset
    out: Path
    seed: int
    summary: TrainingSummary
    texts: MiniGptTexts
    num_parameters: int
    first_tokens: int
    second_tokens: int
    prompt_tokens: int


@final
class WeightedCausal(nn.Module):
    """A causal model whose loss counts some tokens more than others.

    Args:
        model: takes input_ids and returns logits.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        *,
        labels: Int64[Tensor, "batch position"],
        loss_weights: Float[Tensor, "batch position"],
        **inputs: Tensor,
    ) -> "WeightedLoss":
        """Return the weighted mean loss; `inputs` are [batch, position], the mask 4-D."""
        logits = self.model(**inputs, use_cache=False).logits[:, :-1].float()
        losses = nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE, reduction="none"
        )
        weights = loss_weights[:, 1:].flatten() * (labels[:, 1:].flatten() != IGNORE)
        return WeightedLoss(loss=(losses * weights).sum() / weights.sum())


@final
@dataclass
class WeightedLoss:
    """What the training loop asks of an output; the loss is a scalar, [], in nats."""

    loss: Float[Tensor, ""]


def build_mini_gpt(preset: MiniGptPreset, *, tokenizer: Any, seed: int) -> "LlamaForCausalLM":
    """Return the untrained model: pre-norm with RMS, rotary positions, gated SiLU, tied ends.

    Source: Llama (Touvron et al. 2023, arXiv 2302.13971), small.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=preset.d_model,
        intermediate_size=preset.d_ff,
        num_hidden_layers=preset.num_layers,
        num_attention_heads=preset.num_heads,
        num_key_value_heads=preset.num_heads,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with seeded(seed):
        model = LlamaForCausalLM(config)
    model.set_attn_implementation("sdpa")
    return model


def train_mini_gpt(
    data_dir: str | Path,
    out: str | Path,
    *,
    name: str = "mini-gpt",
    preset: MiniGptPreset | None = None,
    seed: int = 0,
    device: str = "cpu",
    tokenizer: str | Path | None = None,
    stop_after_step: int | None = None,
) -> MiniGptRun:
    """Train a bundled causal language model; the same call goes on where it was stopped.

    `tokenizer` is the folder of a finished one: its training falls differently from run to run,
    so the same weights need the same vocabulary. `preset` replaces that of `name`.
    `data_dir` holds facts/, text/, cls/ and nli/. `out` gets tokenizer/, checkpoint/, log.jsonl.

    Raises: VesaliusError for an unknown name, missing data, or a folder of another run.

    Source: this project.
    """
    preset, out = preset or find_preset(name), Path(out)
    texts = collect_texts(Path(data_dir), options=preset.corpus, seed=seed)
    words = load_or_train_bpe(out, texts=texts, vocab_size=preset.vocab_size, given=tokenizer)
    batches = make_batches(
        texts,
        tokenizer=words,
        options=preset.corpus,
        num_first=preset.first_steps * preset.training.micro_batches,
        seed=seed,
    )
    model = build_mini_gpt(preset, tokenizer=words, seed=seed)
    nn.Module.to(model, device)  # the override in transformers has no usable types
    evaluate = _quick_evaluation(Path(data_dir), texts=texts, tokenizer=words)
    summary = _two_phases(
        model,
        preset=preset,
        batches=batches,
        seed=seed,
        out=out,
        evaluate=evaluate,
        stop_after_step=stop_after_step,
    )
    return MiniGptRun(
        name=name,
        preset=preset,
        out=out,
        seed=seed,
        summary=summary,
        texts=texts,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        first_tokens=batches.first_tokens,
        second_tokens=batches.second_tokens,
        prompt_tokens=batches.prompt_tokens,
    )


def find_preset(name: str) -> MiniGptPreset:
    """Return the preset of a bundled causal model.

    Raises: VesaliusError for an unknown name.

    Source: this project.
    """
    if name not in PRESETS:
        raise VesaliusError(
            given=f"causal model {name!r}",
            expected=f"one of {', '.join(PRESETS)}",
            fix="use 'mini-gpt'",
        )
    return PRESETS[name]


def load_or_train_bpe(
    out: Path, *, texts: MiniGptTexts, vocab_size: int, given: str | Path | None = None
) -> "PreTrainedTokenizerFast":
    """Return the tokenizer of `out`/tokenizer, first copied from `given` or trained if need be.

    Source: this project.
    """
    from transformers import PreTrainedTokenizerFast

    folder, new = out / "tokenizer", out / "tokenizer.new"
    if not folder.exists():
        if given is not None:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(given)
        else:
            prompts = [prompt.text for prompt in texts.prompts[: len(texts.prompts) // 4]]
            tokenizer = train_bpe_tokenizer(
                [*texts.first, *texts.second, *prompts],
                vocab_size=vocab_size,
                max_length=MAX_POSITIONS,
            )
        tokenizer.save_pretrained(new)
        new.rename(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def _two_phases(
    model: nn.Module,
    *,
    preset: MiniGptPreset,
    batches: MiniGptBatches,
    seed: int,
    out: Path,
    evaluate: Callable[[nn.Module], Mapping[str, float]],
    stop_after_step: int | None,
) -> TrainingSummary:
    """Train to the end of the first phase, then on from its checkpoint with the other kernel."""
    options = replace(preset.training, seed=seed)
    device = str(next(model.parameters()).device)
    wrapped = WeightedCausal(model)
    summary: TrainingSummary | None = None
    for phase, last in enumerate((preset.first_steps, options.num_steps)):
        with _fastest_attention(device, short=phase == 0):
            torch.compiler.reset()  # a compiled graph keeps the kernel it was made with
            summary = train(
                wrapped,
                batches=batches.batches,
                options=options,
                out=out,
                evaluate=evaluate,
                identity={**batches.identity, "model": str(sorted(asdict(preset).items()))},
                stop_after_step=min(last, stop_after_step or last),
            )
        if summary.num_steps < last:
            break
    assert summary is not None
    return summary


def _fastest_attention(device: str, *, short: bool) -> AbstractContextManager[Any]:
    """Take the kernel that is faster on CPU: the plain one for 128 tokens, flash for 256."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if device != "cpu":
        return nullcontext()
    return sdpa_kernel(SDPBackend.MATH if short else SDPBackend.FLASH_ATTENTION)


def _quick_evaluation(
    data_dir: Path, *, texts: MiniGptTexts, tokenizer: Any
) -> Callable[[nn.Module], Mapping[str, float]]:
    """Return what is measured while training; its rows are none of the final evaluation's."""
    from vesalius.recipes.mini_gpt_scores import quick_scores, read_quick_rows

    rows = read_quick_rows(data_dir)

    def evaluate(wrapped: nn.Module) -> Mapping[str, float]:
        assert isinstance(wrapped, WeightedCausal)
        return quick_scores(wrapped.model, tokenizer=tokenizer, texts=texts.held_out, rows=rows)

    return evaluate
