"""Open a tokenizer that stands without its model."""

from typing import Any

from vesalius.core.errors import VesaliusError


def load_tokenizer(location: str, *, told: str) -> Any:
    """Load a tokenizer from a folder or the hub; `told` is how the user named it.

    Raises:
        VesaliusError: there is none, or it has no vocabulary.

    Source: ``AutoTokenizer`` of the transformers library.
    """
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    except Exception as error:  # the libraries behind it raise what they like
        raise VesaliusError(
            given=f"{told}: {type(error).__name__}",
            expected="a bundled model, a folder with a tokenizer, or a name on the hub",
            fix="look at the name, or save one there with tokenizer.save_pretrained(folder)",
        ) from error
    # without files transformers makes one of special tokens alone, for which every word is [UNK]
    if len(loaded) <= len(loaded.all_special_tokens):
        raise VesaliusError(
            given=f"{told}, which has no vocabulary",
            expected="tokenizer files in that folder",
            fix="save them there with tokenizer.save_pretrained(folder)",
        )
    return loaded
