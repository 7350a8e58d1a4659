"""Open any encoder or causal language model with a new classification head.

Source: ``AutoModelForSequenceClassification`` of the transformers library; Clark et al. 2020,
arXiv 2003.10555, section 3.1 (learning rates that fall layer by layer).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import nn

from vesalius.core.errors import VesaliusError
from vesalius.models import zoo
from vesalius.models.linear import is_finite
from vesalius.models.parts import Parts, find_parts
from vesalius.models.texts import NUM_TEXTS
from vesalius.training.random_state import seeded

# These count positions from pad_token_id + 1, so two of the table are never used.
_OFFSET_POSITIONS: Final = ("roberta", "xlm-roberta", "camembert", "longformer", "mpnet", "luke")


@final
@dataclass(frozen=True, kw_only=True)
class Source:
    """A model before its weights are read: where it is, its configuration and tokenizer."""

    name: str
    location: str
    revision: str
    config: Any
    tokenizer: Any
    notes: tuple[str, ...]

    @property
    def width(self) -> int:
        """The size of a hidden state."""
        text = self.config.get_text_config()
        names = ("hidden_size", "d_model", "n_embd", "dim")
        return next(int(getattr(text, name)) for name in names if hasattr(text, name))

    def max_length(self, wanted: int) -> int:
        """Cut a length down to what the model and its tokenizer take."""
        text = self.config.get_text_config()
        limit = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
        if limit and text.model_type in _OFFSET_POSITIONS:
            limit -= 2
        return min(wanted, limit or wanted, self.tokenizer.model_max_length)

    def fingerprint(self) -> str:
        """Hash configuration and weight files of a folder; give the commit of a hub name."""
        if not Path(self.location).is_dir():
            return str(getattr(self.config, "_commit_hash", None) or self.revision)
        digest = hashlib.sha256()
        for path in sorted(Path(self.location).iterdir()):
            if path.name == "config.json" or path.suffix == ".safetensors":
                digest.update(path.name.encode())
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]

    def tokenizer_fingerprint(self) -> str:
        """Hash everything that decides how a text becomes tokens."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        text = backend.to_str() if backend else json.dumps(sorted(self.tokenizer.get_vocab()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_source(model: str | Path, *, revision: str = "main") -> Source:
    """Read configuration and tokenizer of a bundled model, a folder or a hub name.

    A tokenizer without a padding token is given its end-of-text token for it, and says so in
    ``notes``: the classification heads of causal models look for the last token before it.

    Raises:
        VesaliusError: no such model, a folder that is not complete, or no tokenizer.
    """
    from transformers import AutoConfig, AutoTokenizer

    name = str(model)
    bundled = name in zoo.names() and not Path(name).is_dir()
    location = str(zoo.path(name)) if bundled else name
    if Path(location).is_dir() and not (Path(location) / "config.json").is_file():
        raise VesaliusError(
            given=f"the folder {Path(location).name!r} without a config.json",
            expected="a model folder as save_pretrained writes it",
            fix="save the model there with model.save_pretrained(folder)",
        )
    try:
        config = AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(
            location, revision=revision, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise VesaliusError(
            given=f"model {name!r} ({reason[:160]})",
            expected=f"a bundled model ({', '.join(zoo.names())}), a folder with model and "
            "tokenizer, or a name on the hub",
            fix="check the spelling; hub names need a network or a filled cache",
        ) from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise VesaliusError(
            given=f"{Path(name).name}: a model without a tokenizer (no vocabulary)",
            expected="tokenizer files beside the weights",
            fix="save them there with tokenizer.save_pretrained(folder)",
        )
    return Source(
        name=Path(name).resolve().name if Path(name).is_dir() else name,
        location=location,
        revision=revision,
        config=config,
        tokenizer=tokenizer,
        notes=_pad_notes(tokenizer),
    )


def _pad_notes(tokenizer: Any) -> tuple[str, ...]:
    if tokenizer.pad_token_id is not None:
        return ()
    chosen = tokenizer.eos_token or tokenizer.unk_token
    if chosen is None:
        raise VesaliusError(
            given="a tokenizer with no padding, end-of-text or unknown token",
            expected="a token to fill up short texts with",
            fix="set tokenizer.pad_token and save the tokenizer beside the model",
        )
    tokenizer.pad_token = chosen
    return (f"the tokenizer has no padding token: {chosen!r} pads short texts",)


def build_classifier(
    source: Source,
    *,
    label_names: Sequence[str],
    seed: int,
    num_texts: int = 1,
    from_scratch: bool = False,
    pooling: str = "mean",
) -> tuple[nn.Module, tuple[str, ...]]:
    """Load the weights, or draw all of them at random, with a new head of one row per label.

    The configuration tells from then on whether the model reads texts or pairs (``num_texts``).

    Returns the model in float32 and what a reader of its card should know.

    Raises:
        VesaliusError: an architecture without such a head, weights that are missing inside a
            block, cannot be read or are not finite.
    """
    from transformers import AutoModelForSequenceClassification

    config = _configuration(source, label_names, num_texts=num_texts)
    notes: tuple[str, ...] = ()
    if getattr(config, "classifier_pooling", pooling) != pooling:
        notes = (f"the head reads {pooling!r}; the model names {config.classifier_pooling!r}",)
        config.classifier_pooling = pooling
    with seeded(seed):
        try:
            if from_scratch:
                model = AutoModelForSequenceClassification.from_config(config)
                notes += ("all weights were drawn at random: nothing was pretrained",)
            else:
                model, info = AutoModelForSequenceClassification.from_pretrained(
                    source.location,
                    config=config,
                    revision=source.revision,
                    dtype=torch.float32,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
                notes += _loading_notes(source, model, info)
        except (OSError, ValueError, RuntimeError) as error:
            raise VesaliusError(
                given=f"{source.name}: {(str(error).strip() or 'no reason').splitlines()[0][:160]}",
                expected="an encoder or causal model with safetensors weights and a "
                "sequence-classification class in transformers",
                fix="open another checkpoint, or convert this one with save_pretrained",
            ) from error
    if not is_finite(model):
        raise VesaliusError(
            given=f"{source.name}: weights with NaN or infinity in them",
            expected="finite weights",
            fix="take another checkpoint; this one was saved after its training diverged",
        )
    return model, notes


def _configuration(source: Source, label_names: Sequence[str], *, num_texts: int) -> Any:
    """The model's configuration with a classification head; the source keeps its own."""
    labels = dict(enumerate(label_names))
    config = type(source.config).from_dict(source.config.to_dict())
    config.num_labels = len(labels)
    config.id2label, config.label2id = labels, {name: i for i, name in labels.items()}
    config.problem_type = "single_label_classification"
    setattr(config, NUM_TEXTS, num_texts)
    config.pad_token_id = source.tokenizer.pad_token_id
    config.dtype = torch.float32
    return config


def _loading_notes(source: Source, model: nn.Module, info: Any) -> tuple[str, ...]:
    """Say which weights are new, and refuse new ones inside a block."""
    other = {key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"]}
    new = sorted({str(key) for key in info["missing_keys"]} | {str(key) for key in other})
    blocks = find_parts(model).blocks
    lost = [key for key in new if any(key.startswith(f"{block.name}.") for block in blocks)]
    if lost:
        raise VesaliusError(
            given=f"{source.name}: no fitting weights for {len(lost)} tensors inside its blocks, "
            f"such as {lost[0]}",
            expected="a checkpoint of this architecture that holds every block",
            fix="copy the checkpoint again; for random weights say from_scratch (--from-scratch)",
        )
    return (f"new weights, drawn at random: {', '.join(new)}",) if new else ()


def layer_lr_scales(model: nn.Module, *, decay: float) -> dict[str, float]:
    """Give the factor on the learning rate of every parameter that is not 1.

    The top block and what stands above it keep 1, each block below has ``decay`` times the one
    above, and embeddings ``decay`` to the number of blocks. Blocks that share their weights
    (ALBERT) are one. Embeddings are whatever is defined before the first block, and every
    ``nn.Embedding`` outside the blocks.

    Raises:
        VesaliusError: no block is found in the model.
    """
    parts = find_parts(model)
    depth = _depths(model, parts)
    return {name: decay**steps for name, steps in depth.items() if steps and decay != 1}


def embedding_names(model: nn.Module) -> tuple[str, ...]:
    """Name the parameters below the first block; see :func:`layer_lr_scales`."""
    parts = find_parts(model)
    return tuple(n for n, steps in _depths(model, parts).items() if steps == len(parts.blocks))


def _depths(model: nn.Module, parts: Parts) -> dict[str, int]:
    """Count how many blocks each parameter stands below the top one."""
    num_blocks = len(parts.blocks)
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    depths: dict[str, int] = {}
    met_a_block = False
    for name, parameter in model.named_parameters():
        owner = [i for i, b in enumerate(parts.blocks) if name.startswith(f"{b.name}.")]
        met_a_block = met_a_block or bool(owner)
        if owner:
            depths[name] = num_blocks - 1 - owner[0]
        elif not met_a_block or id(parameter) in tables:
            depths[name] = num_blocks
        else:
            depths[name] = 0
    return depths
