"""A trained pair as two ordinary Hugging Face checkpoints, with a tokenizer and a card each.

Source: this project; the classes are those of transformers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vesalius.core.checks import check_word
from vesalius.models.electra import EncoderPair

PARTS: Final = ("discriminator", "generator")


def save_pair_part(
    pair: EncoderPair, part: str, *, tokenizer: Any, folder: Path, readme: str
) -> None:
    """Write one network of a pair, in float32, with its tokenizer and card into a folder.

    The folder is one that is there already: `core.paths.new_folder` makes it appear whole.

    Raises:
        VesaliusError: `part` is neither "discriminator" nor "generator".
    """
    check_word("part", part, PARTS)
    model: Any = pair.as_discriminator() if part == PARTS[0] else pair.as_generator()
    model.cpu().float().save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # they are written for their owner only
    longest = tokenizer.model_max_length
    tokenizer.model_max_length = pair.shape.max_length
    tokenizer.save_pretrained(folder)
    tokenizer.model_max_length = longest
    (folder / "README.md").write_text(readme, encoding="utf-8")


def describe_part(pair: EncoderPair, part: str) -> Mapping[str, Any]:
    """Say what a network of a pair is: class, sizes, parameters of the exported model.

    Raises:
        VesaliusError: `part` is neither "discriminator" nor "generator".
    """
    check_word("part", part, PARTS)
    shape, own = pair.shape, part == PARTS[0]
    model: Any = pair.as_discriminator() if own else pair.as_generator()
    return {
        "class": type(model).__name__,
        "num_layers": shape.num_layers if own else shape.generator_layers,
        "width": shape.width if own else shape.generator_width,
        "num_heads": shape.num_heads if own else shape.generator_heads,
        "vocab_size": shape.vocab_size,
        "max_length": shape.max_length,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
