"""Let a causal language model write on from a text, by chance, until it writes what ends it.

Source: ancestral sampling; nucleus sampling of arXiv 1904.09751. A generator of its own draws, so
that neither global random state nor a generation configuration plays a part.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from vesalius.core.errors import VesaliusError
from vesalius.models.label_scores import open_ended
from vesalius.models.ladder import accepts
from vesalius.models.prefix import OwnTokens, encode_prefix, read_behind
from vesalius.models.specimen import Specimen

_AT_ONCE: Final = 32  # texts that grow side by side


def sample_texts(
    specimen: Specimen,
    prompt: str,
    *,
    num: int,
    stops: Sequence[str],
    seed: int,
    num_tokens: int = 128,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> Iterator[str]:
    """Sample texts that follow a prompt, each up to and with what ends it.

    Args:
        specimen: the opened causal language model.
        prompt: what stands before every text; encoded once.
        num: how many texts.
        stops: strings that end a text.
        seed: of the draws; the first texts stay the same when more are asked for.
        num_tokens: at most so many tokens, or as many as fit the model.
        temperature: divides the logits.
        top_p: the smallest set of tokens with so much probability is drawn from.

    Yields:
        Texts; one that ran out of tokens ends without a stop.

    Raises:
        VesaliusError: another kind of model, a prompt without a token, or no room behind it.

    Source: this module. No shapes.
    """
    if specimen.task != "causal-lm":
        raise VesaliusError(
            given=f"{specimen.name}, a model with the task {specimen.task!r}",
            expected="a causal language model, which can write",
            fix="use mini-gpt, or estimate from texts of your own",
        )
    ids = open_ended(specimen, [prompt])[0]
    limit = specimen.max_tokens
    room = num_tokens if limit is None else min(num_tokens, limit - len(ids))
    if room < 1:
        raise VesaliusError(
            given=f"a prompt of {len(ids)} tokens for {specimen.name}, which reads {limit}",
            expected="room to write behind it",
            fix="take fewer or shorter demonstrations",
        )
    generator = torch.Generator().manual_seed(seed % 2**63)
    for start in range(0, num, _AT_ONCE):
        # always so many side by side: the draws of the first do not depend on num
        texts = _written(specimen, ids, stops, room, generator, (temperature, top_p))
        yield from texts[: num - start]


def _written(
    specimen: Specimen,
    ids: list[int],
    stops: Sequence[str],
    room: int,
    generator: torch.Generator,
    chances: tuple[float, float],
) -> list[str]:
    """Write ``_AT_ONCE`` texts side by side, until all have ended or there is no more room."""
    writer = _Writer(specimen, ids)
    texts: list[str] = [""] * _AT_ONCE
    growing = list(range(_AT_ONCE))  # the texts that the rows of the writer belong to
    for _ in range(room):
        said = writer.go_on(_draw(writer.logits(), generator, *chances))
        still: list[int] = []
        for row, text in enumerate(growing):
            texts[text], ended = _until_stop(_decoded(specimen, said[row]), stops)
            if not ended:
                still.append(row)
        growing = [growing[row] for row in still]
        if not growing:
            break
        writer.keep(still)
    return texts


@final
class _Writer:
    """Texts that grow behind one prompt, each with its own keys and values."""

    def __init__(self, specimen: Specimen, ids: list[int]) -> None:
        self.specimen = specimen
        self.prefix = encode_prefix(specimen, ids[:-1])
        self.said = torch.full((_AT_ONCE, 1), ids[-1], device=specimen.device)
        # one token before all texts leaves no prefix, but a cache all the same
        self.cache = None if self.prefix.way == "whole" else DynamicCache()
        pairs = zip(self.prefix.keys, self.prefix.values, strict=True)
        for layer, (keys, values) in enumerate(pairs):
            assert self.cache is not None
            shape = (_AT_ONCE, -1, -1, -1)
            self.cache.update(keys.expand(shape), values.expand(shape), layer)

    def logits(self) -> Float[Tensor, "text vocab"]:
        """Read the next token of every text."""
        if self.cache is None:  # a model without one runs everything anew
            return read_behind(self.specimen, self.prefix, _grown(self.said))[:, 0]
        num_texts, length = self.said.shape
        model: Any = self.specimen.model
        inputs: dict[str, Tensor] = {
            "input_ids": self.said[:, -1:],
            "attention_mask": self.said.new_ones(num_texts, self.prefix.num_tokens + length),
        }
        if accepts(model, "position_ids"):
            position = self.prefix.num_tokens + length - 1
            inputs["position_ids"] = torch.full_like(self.said[:, -1:], position)
        with self.specimen.at_rest(), torch.no_grad():
            return model(**inputs, past_key_values=self.cache, use_cache=True).logits[:, -1]

    def go_on(self, drawn: Int[Tensor, "text 1"]) -> Int[Tensor, "text token"]:
        """Write a token behind every text, and give all that was written."""
        self.said = torch.cat((self.said, drawn.to(self.said.device)), dim=1)
        return self.said[:, 1:]

    def keep(self, rows: list[int]) -> None:
        """Let go of the texts that have ended."""
        if len(rows) == len(self.said):
            return
        index = torch.tensor(rows, device=self.said.device)
        self.said = self.said[index]
        if self.cache is not None:
            self.cache.batch_select_indices(index)


def _decoded(specimen: Specimen, tokens: Int[Tensor, " token"]) -> str:
    return str(specimen.tokenizer.decode(tokens.tolist(), clean_up_tokenization_spaces=False))


def _until_stop(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    return (text[: min(ends)], True) if ends else (text, False)


def _grown(said: Int[Tensor, "text own"]) -> OwnTokens:
    num_texts, length = said.shape
    positions = torch.arange(length, device=said.device).expand(num_texts, -1)
    lengths = torch.full((num_texts,), length, device=said.device)
    return OwnTokens(
        ids=said, positions=positions, places=(lengths - 1).unsqueeze(1), lengths=lengths
    )


def _draw(
    logits: Float[Tensor, "text vocab"],
    generator: torch.Generator,
    temperature: float,
    top_p: float,
) -> Int[Tensor, "text 1"]:
    probs = (logits.double().cpu() / temperature).softmax(-1)
    if top_p < 1:
        ordered, order = probs.sort(dim=-1, descending=True)
        ordered[ordered.cumsum(-1) - ordered >= top_p] = 0  # the first token always stays
        probs = torch.zeros_like(probs).scatter(-1, order, ordered)
    return torch.multinomial(probs, 1, generator=generator)
