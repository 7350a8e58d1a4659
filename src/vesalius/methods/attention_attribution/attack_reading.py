"""What models make of tokens that were changed: classes, classes by another model, perplexity.

Source: arXiv 2004.11207, section 4.5 (accuracy); transfer and perplexity are ours.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from vesalius.core.errors import VesaliusError
from vesalius.methods.attention_attribution.inputs import plan_batches
from vesalius.models.ladder import run_model
from vesalius.models.reading import checked_logits, row_logits, runs_of
from vesalius.models.specimen import Specimen
from vesalius.models.texts import TokenisedTexts, tokenise_texts

_NO_LIMIT = 1 << 30


def class_names(specimen: Specimen) -> tuple[str, ...]:
    """Name the classes of a classifier of texts, in their order; no shapes.

    Raises:
        VesaliusError: a model of another task, or with a single class.
    """
    if specimen.task != "classifier":
        raise VesaliusError(
            given=f"{specimen.name}, a model with the task {specimen.task!r}",
            expected="a classifier of texts: triggers are tokens put into texts",
            fix="open one, such as mini-classifier, or make one with vesalius finetune",
        )
    names: dict[int, Any] = dict(getattr(specimen.model.config, "id2label", None) or {})
    if len(names) < 2:
        raise VesaliusError(
            given=f"{specimen.name}: a head with {len(names)} class",
            expected="two classes or more",
            fix="open a classifier; regression has no class to flip",
        )
    return tuple(str(names[i]) for i in sorted(names))


def tokens_of(
    specimen: Specimen, texts: Sequence[str], pairs: Sequence[str] | None
) -> TokenisedTexts:
    """Tokenise texts or pairs, those longer than the model cut at their end; no shapes.

    Raises:
        VesaliusError: as :func:`tokenise_texts`.
    """
    if isinstance(texts, str):
        return tokenise_texts(specimen, texts)  # which says what is wrong with it
    limit = specimen.max_tokens or _NO_LIMIT
    return tokenise_texts(specimen, list(texts), pairs=pairs, max_tokens=limit)


def predict_classes(
    specimen: Specimen, tokens: TokenisedTexts, *, memory_bytes: int
) -> Int[np.ndarray, " text"]:
    """Read the best class of every text, in batches of like length that fit the memory.

    Returns:
        Indices of classes, shape [text].

    Raises:
        VesaliusError: a text longer than the model, or logits that are no numbers.
    """
    batch = tokens.batch(specimen)
    found = np.zeros(len(tokens), dtype=np.int64)
    for texts in plan_batches(specimen, batch, memory_bytes=memory_bytes):
        logits = row_logits(specimen, batch.select(texts).trimmed())
        found[texts.cpu().numpy()] = logits.argmax(1).cpu().numpy()
    return found


def written_out(
    specimen: Specimen, tokens: TokenisedTexts
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Write tokens as texts again, and the second texts of pairs; no shapes.

    A text of which nothing is left is written as its first token.
    """
    is_pairs = any(1 in owner for owner in tokens.owner)
    columns = [_written(specimen, tokens, part) for part in ((0, 1) if is_pairs else (0,))]
    return columns[0], columns[1] if is_pairs else None


def _written(specimen: Specimen, tokens: TokenisedTexts, part: int) -> tuple[str, ...]:
    found: list[str] = []
    for ids, owner in zip(tokens.ids, tokens.owner, strict=True):
        mine = [i for i, whose in zip(ids, owner, strict=True) if whose == part]
        text = str(specimen.tokenizer.decode(mine)).strip()
        found.append(text or str(specimen.tokenizer.convert_ids_to_tokens(ids[0])))
    return tuple(found)


def same_classes(specimen: Specimen, other: Specimen) -> Int[np.ndarray, " class"]:
    """Find for each class of another model the class of this one with the same name; [class].

    Raises:
        VesaliusError: the names do not match, case aside.
    """
    mine = [name.lower() for name in class_names(specimen)]
    theirs = [name.lower() for name in class_names(other)]
    if sorted(mine) != sorted(theirs) or len(set(mine)) < len(mine):
        raise VesaliusError(
            given=f"transfer to {other.name} with the classes {', '.join(class_names(other))}",
            expected=f"those of {specimen.name}: {', '.join(class_names(specimen))}",
            fix="name another model of the same task, or set its config.id2label",
        )
    return np.array([mine.index(name) for name in theirs])


def transferred_classes(
    specimen: Specimen, other: Specimen, tokens: TokenisedTexts, *, memory_bytes: int
) -> tuple[Int[np.ndarray, " text"], int]:
    """Write tokens out, let another model read the texts, and name its classes as this one does.

    Returns:
        Classes [text], and how many texts were cut to fit the other model.

    Raises:
        VesaliusError: other classes, or texts that the other model cannot read.
    """
    names = same_classes(specimen, other)
    texts, pairs = written_out(specimen, tokens)
    read = tokens_of(other, texts, pairs)
    return names[predict_classes(other, read, memory_bytes=memory_bytes)], read.num_cut


def need_causal(model: Specimen) -> None:
    """Insist on a model that reads from left to right, no shapes.

    Raises:
        VesaliusError: it is another one.
    """
    if model.task != "causal-lm":
        raise VesaliusError(
            given=f"{model.name}, a model with the task {model.task!r}, for the perplexity",
            expected="a causal language model, which reads from left to right",
            fix="open one, such as mini-gpt",
        )


def text_perplexities(
    specimen: Specimen, model: Specimen, tokens: TokenisedTexts, *, memory_bytes: int
) -> Float[np.ndarray, " text"]:
    """Write tokens out and measure how well a causal LM expects each text.

    The perplexity is exp of the mean surprise in nats over the text's tokens but the first, special
    ones not counted; the second text of a pair stands behind the first, what does not fit is cut.

    Returns:
        Shape [text]; NaN where no token counts.

    Raises:
        VesaliusError: a model of another task, or a text that it cannot read.
    """
    need_causal(model)
    texts, pairs = written_out(specimen, tokens)
    if pairs is not None:
        texts = tuple(f"{first} {second}" for first, second in zip(texts, pairs, strict=True))
    batch = tokens_of(model, texts, None).batch(model)
    special = torch.tensor(model.tokenizer.all_special_ids, device=batch.row.device)
    found = np.full(len(texts), np.nan)
    for group in plan_batches(model, batch, memory_bytes=memory_bytes):
        whole = batch.select(group)
        for rows in runs_of(model, whole.trimmed()):
            part = whole.select(rows).trimmed()
            ids, mask = part.inputs["input_ids"], part.inputs["attention_mask"]
            counted = ((mask == 1) & ~torch.isin(ids, special.to(ids)))[:, 1:]
            with model.at_rest(), torch.no_grad():
                every = run_model(model.model, part).logits[:, :-1]
            logits = checked_logits(model, every[counted])
            logs = logits.log_softmax(-1).gather(1, ids[:, 1:][counted].unsqueeze(1))[:, 0]
            total = logs.new_zeros(len(ids)).index_add(0, counted.nonzero()[:, 0], -logs)
            found[group[rows].cpu().numpy()] = (total / counted.sum(1)).double().exp().cpu().numpy()
    return found
