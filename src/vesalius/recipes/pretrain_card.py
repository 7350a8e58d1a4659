"""The cards of both exported networks, and the command that made them.

Source: Mitchell et al. 2019, Model Cards for Model Reporting.
"""

from collections.abc import Mapping
from typing import Any, Final

from vesalius.core.card import installed_versions
from vesalius.recipes.pretrain_config import FREE, PretrainOptions, pretrain_preset
from vesalius.recipes.pretrain_result import SHOWN
from vesalius.recipes.pretrain_text import TOKENIZER, TextRequest
from vesalius.training.config import TrainingOptions

# options whose flag has another name
FLAGS: Final[Mapping[str, str]] = {"num_steps": "steps", "autocast_bf16": "bf16"}
_USES: Final[Mapping[str, str]] = {
    "discriminator": "It tells replaced tokens from originals; its body is an encoder to "
    "fine-tune: `vesalius finetune FOLDER`, or "
    "`AutoModelForSequenceClassification.from_pretrained`.",
    "generator": "A small masked language model: `vesalius neurons locate --model FOLDER`, or "
    "`AutoModelForMaskedLM.from_pretrained`.",
}


def command_of(request: TextRequest, options: PretrainOptions) -> str:
    """Write the command line that makes this run, without folders and what changes no weight."""
    words = ["vesalius pretrain electra"]
    if request.text:
        words.append(f"--text {' --text '.join(request.name.split(', '))}")
    if request.data:
        words.append(f"--data {request.name}")
    for name in ("column", "split", "boundary"):
        value = getattr(request.reading, name)
        if value != getattr(TextRequest().reading, name):
            words.append(f"--{name} {value}")
    if request.train_tokenizer:
        words.append(f"--train-tokenizer {request.train_tokenizer}")
    elif request.tokenizer != TOKENIZER:
        words.append(f"--tokenizer {_last(request.tokenizer)}")
    words.append(f"--preset {options.preset} --recipe {options.recipe}")
    num_steps = options.training.num_steps
    shorter = pretrain_preset(options.preset, recipe=options.recipe, num_steps=num_steps)
    usual = shorter.flat() | {"num_steps": pretrain_preset(options.preset).training.num_steps}
    same = {"vocab_size", "betas", "preset", "recipe", "seed", *FREE}
    for name, value in options.flat().items():
        if name not in same and value != usual[name]:
            words.append(flag_of(name, value))
    return " ".join([*words, f"--seed {options.training.seed}"])


def flag_of(name: str, value: object) -> str:
    """Write an option as a flag with its value.

    >>> flag_of("num_steps", 50), flag_of("detach_head", False)
    ('--steps 50', '--no-detach-head')
    """
    flag = FLAGS.get(name, name).replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {value}"


def readme_of(
    part: str,
    *,
    network: Mapping[str, Any],
    facts: Mapping[str, Any],
    options: PretrainOptions,
    progress: Mapping[str, Any],
    scores: Mapping[str, float],
    baselines: Mapping[str, float],
    measures: Mapping[str, float],
) -> str:
    """Write the card of an exported network: data, command, steps, last values, licence.

    Args:
        part: "discriminator" or "generator".
        network: what `models.electra_export.describe_part` says.
        facts: data, licence, documents and command, as run.json has them.
        options: of the run.
        progress: step, num_tokens, seconds of the checkpoint.
        scores: of the held-out text.
        baselines: the same without a model.
        measures: the last logged health measures.
    """
    lines = [
        f"# {part}, pretrained by replaced-token detection",
        "",
        f"{network['class']}: {network['num_layers']} layers of width {network['width']}, "
        f"{network['num_heads']} heads, {network['vocab_size']:,} tokens, texts of at most "
        f"{network['max_length']} tokens; {network['num_parameters']:,} parameters in float32. "
        + _USES[part],
        "",
        f"Licence of the text: {facts['licence']}.",
        "",
        "## Made by",
        "",
        *_making(facts, options.training, progress),
        "",
        "## On held-out text",
        "",
        "| what | score | without a model |",
        "|---|---|---|",
    ]
    lines += [
        f"| {words} | {scores[name]:.4f} | {baselines[name]:.4f} |"
        for name, words, _ in SHOWN
        if name in scores and name in baselines
    ]
    if measures:
        lines += ["", "## Last values of the curves", "", "| measure | value |", "|---|---|"]
        lines += [f"| {name} | {value:.4f} |" for name, value in measures.items()]
    return "\n".join(lines) + "\n"


def _making(
    facts: Mapping[str, Any], training: TrainingOptions, progress: Mapping[str, Any]
) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    return [
        f"    {facts['command']}",
        "",
        f"- text: {facts['data']}, {facts['num_documents']:,} documents, SHA-256 of its tokens "
        f"{facts['documents'][:16]}",
        f"- tokenizer: SHA-256 {facts['tokenizer_sha256'][:16]}",
        f"- seed {training.seed}, step {progress['step']:,} of {training.num_steps:,}, "
        f"{progress['num_tokens']:,} tokens, {progress['seconds']:,.0f} s in the steps",
        f"- {versions}",
    ]


def _last(name: str) -> str:
    from pathlib import Path

    return Path(name).name if Path(name).is_dir() else name
