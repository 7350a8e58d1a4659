"""Do the neurons of a fact fire where the fact is told: their values at the gaps of texts.

Source: arXiv 2104.08696, section 4.5 (distant supervision).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import final

import numpy as np
import torch
from torch import Tensor

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.data.mentions import MaskedText
from vesalius.methods.knowledge_neurons.activation_result import (
    Activations,
    TextValues,
    summarise,
    text_table,
)
from vesalius.methods.knowledge_neurons.intervene import checked_neurons
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.methods.knowledge_neurons.windows import Window, window_around_gap
from vesalius.models.batch import Batch
from vesalius.models.calls import take_rows
from vesalius.models.encoding import MASK, encode_prompts, one_token
from vesalius.models.ladder import logits_row, run_model
from vesalius.models.neurons import check_fired, neurons_replaced
from vesalius.models.objectives import probabilities
from vesalius.models.specimen import Specimen
from vesalius.parallel.memory import parse_bytes

FactKey = tuple[str, str, str]
"""Relation, subject and answer of a fact."""

_PAPER_TOKENS = 512  # arXiv 2104.08696's code
_ALIKE = 0.8  # of the longest text of a run: at most a fifth of it is padding
_LEAST_TOGETHER = 16  # a pass over fewer texts costs more than it saves
_LOWEST = -0.3  # GELU never falls below -0.17, SiLU not below -0.28


def activations(
    specimen: Specimen,
    texts: Sequence[MaskedText],
    neurons: Sequence[Neuron] | Mapping[FactKey, Sequence[Neuron]],
    *,
    magnitude: bool = False,
    most_tokens: int = _PAPER_TOKENS,
    memory: str = "1GiB",
    seed: int = 0,
) -> Activations:
    """Read neurons at the gaps of texts, and compare the kinds of texts.

    A fact counts as the mean of its texts, a relation as that of its facts, a kind of texts as
    that of its relations.

    Args:
        specimen: the opened model.
        texts: with ``[MASK]`` once; a causal model reads what stands before it.
        neurons: those of all texts, or of each fact by (relation, subject, answer). Texts of a
            fact without neurons are left out.
        magnitude: whether sizes count without their sign. In a gated feed-forward the sign of a
            neuron is arbitrary: flip it, and its value slot, and nothing changes.
        most_tokens: longer texts are cut around their gap, as those longer than the model are.
        memory: that one run may take.
        seed: of the bootstrap.

    Returns:
        A row per text, the means by kind with intervals, the rank correlation with the answer's
        probability; shapes [text].

    Raises:
        VesaliusError: no text, a text without a gap, a fact that has no entry in ``neurons``,
            neurons that are not there, a model that fills no gaps.

    Source: arXiv 2104.08696, section 4.5.
    """
    stopwatch = Stopwatch.start()
    limit = _limit(specimen, most_tokens)
    jobs = _jobs(specimen, texts, neurons, limit)
    read = _read(specimen, jobs, parse_bytes(memory))
    values = [replace(value, magnitude=magnitude) for value in read]
    return Activations(
        card=make_card(
            "neurons activations",
            stopwatch=stopwatch,
            config={"magnitude": magnitude, "most_tokens": limit, "memory": memory},
            model=specimen.name,
            model_fingerprint=specimen.fingerprint,
            seed=seed,
            warnings=_warnings(values, len(texts) - len(jobs)),
        ),
        texts=text_table(values),
        **summarise(values, seed=seed),
    )


@final
@dataclass(frozen=True, kw_only=True)
class _Job:
    """A text as it is read, with the neurons to read in it."""

    text: MaskedText
    window: Window
    neurons: tuple[Neuron, ...]


def _limit(specimen: Specimen, most_tokens: int) -> int:
    if not isinstance(most_tokens, Integral) or most_tokens < 8:
        raise VesaliusError(
            given=f"most_tokens={most_tokens!r}",
            expected="a whole number from 8, so that words are left around the gap",
            fix=f"leave it at {_PAPER_TOKENS}",
        )
    encode_prompts(specimen, [f"a {MASK}"])  # refuses what fills no gaps, or has no tokenizer
    return min(int(most_tokens), specimen.max_tokens or int(most_tokens))


def _jobs(
    specimen: Specimen,
    texts: Sequence[MaskedText],
    neurons: Sequence[Neuron] | Mapping[FactKey, Sequence[Neuron]],
    limit: int,
) -> list[_Job]:
    """The texts of facts that have neurons, cut to what is read."""
    sets = _sets_of(specimen, texts, neurons)
    jobs = [
        _Job(text=text, window=_window(specimen, text, number, limit), neurons=chosen)
        for number, (text, chosen) in enumerate(zip(texts, sets, strict=True))
        if chosen
    ]
    if not jobs:
        raise VesaliusError(
            given=f"{len(texts)} texts, of facts without neurons",
            expected="at least one fact with a neuron",
            fix="locate with a lower share, or name neurons yourself",
        )
    return jobs


def _sets_of(
    specimen: Specimen,
    texts: Sequence[MaskedText],
    neurons: Sequence[Neuron] | Mapping[FactKey, Sequence[Neuron]],
) -> list[tuple[Neuron, ...]]:
    """The neurons of each text; empty where its fact has none."""
    if not texts:
        raise VesaliusError(
            given="no texts", expected="at least one", fix=f"write texts with {MASK} in them"
        )
    if not isinstance(neurons, Mapping):
        return [checked_neurons(specimen, neurons)] * len(texts)
    known = {
        fact: checked_neurons(specimen, chosen) if chosen else ()
        for fact, chosen in neurons.items()
    }
    facts = [(text.relation, text.subject, text.answer) for text in texts]
    strangers = [fact for fact in facts if fact not in known]
    if strangers:
        raise VesaliusError(
            given=f"a text about {strangers[0]}, a fact without an entry in neurons",
            expected="neurons for (relation, subject, answer) of every text, perhaps none",
            fix="locate that fact too, or leave its texts out",
        )
    return [known[fact] for fact in facts]


def _window(specimen: Specimen, text: MaskedText, number: int, limit: int) -> Window:
    try:
        return window_around_gap(specimen, text.text, max_tokens=limit)
    except VesaliusError as error:
        raise VesaliusError(
            given=f"text {number}: {error.given}", expected=error.expected, fix=error.fix
        ) from error


def _read(specimen: Specimen, jobs: Sequence[_Job], memory_bytes: int) -> list[TextValues]:
    """Read all texts, those of one length together, as many at once as the memory holds."""
    order = sorted(range(len(jobs)), key=lambda place: -jobs[place].window.num_tokens)
    num_vocab = specimen.parts.num_vocab or 0
    widest = max(part.feed_forward.num_inputs for part in specimen.plan.calls)
    # logits and their softmax; what a block keeps of a token at once is a few times its neurons
    per_token = 4 * (3 * num_vocab + 6 * widest)
    lengths = [jobs[place].window.num_tokens + 2 for place in order]
    found: dict[int, TextValues] = {}
    for run in _runs(lengths, most_tokens=memory_bytes // per_token):
        places = [order[number] for number in run]
        found |= zip(places, _read_batch(specimen, [jobs[p] for p in places]), strict=True)
    return [found[place] for place in range(len(jobs))]


def _runs(lengths: Sequence[int], *, most_tokens: int) -> list[range]:
    """Cut texts, the longest first, into runs; all of a run are padded to its first."""
    runs: list[range] = []
    start = 0
    for number, length in enumerate(lengths):
        full = (number + 1 - start) * lengths[start] > most_tokens
        short = length < _ALIKE * lengths[start] and number - start >= _LEAST_TOGETHER
        if number > start and (full or short):
            runs.append(range(start, number))
            start = number
    return [*runs, range(start, len(lengths))]


def _read_batch(specimen: Specimen, jobs: Sequence[_Job]) -> list[TextValues]:
    batch = encode_prompts(specimen, [job.window.text for job in jobs])
    layers, probs = _run(specimen, batch)
    values: list[TextValues] = []
    for row, job in enumerate(jobs):
        token = _token_of(specimen, job)
        values.append(
            TextValues(
                text=job.window.text,
                kind=job.text.kind,
                relation=job.text.relation,
                subject=job.text.subject,
                answer=job.text.answer,
                num_tokens=job.window.num_tokens,
                cut=job.window.cut,
                prob=math.nan if token is None else float(probs[row, token]),
                neurons=job.neurons,
                values=np.array([float(layers[layer][row, n]) for layer, n in job.neurons]),
            )
        )
    return values


def _run(specimen: Specimen, batch: Batch) -> tuple[list[Tensor], Tensor]:
    """One pass: the neurons at the gaps, [batch, neuron] each layer, and the words' probability."""
    calls = specimen.plan.calls
    seen: list[Tensor] = []

    def keep(layer: int, neurons: Tensor) -> Tensor:
        rows = take_rows(neurons, batch.rows_of(calls[layer].stack))[:, 0]
        seen.append(rows.double().cpu())
        return neurons

    with (
        specimen.at_rest(),
        torch.no_grad(),
        neurons_replaced(specimen.parts, keep, num_prompts=batch.num_prompts) as fired,
    ):
        probs = probabilities(logits_row(run_model(specimen.model, batch).logits, batch))
    check_fired(fired, len(calls), specimen.model)
    return seen, probs.cpu()


def _token_of(specimen: Specimen, job: _Job) -> int | None:
    """The answer's token; None where there is no answer, or one of several tokens."""
    if not job.text.answer.strip():
        return None
    before = job.window.text.partition(MASK)[0]
    led = specimen.task == "causal-lm" or before[-1:].isspace()
    try:
        return one_token(specimen, job.text.answer, led=led)
    except VesaliusError:  # counted, and said in the result
        return None


def _warnings(values: Sequence[TextValues], num_without: int) -> list[str]:
    num_cut = sum(value.cut for value in values)
    lowest = min(float(value.values.min()) for value in values)
    signed = lowest < _LOWEST and not values[0].magnitude
    num_unread = sum(math.isnan(value.prob) and bool(value.answer.strip()) for value in values)
    counted = (
        (num_without, "texts are left out: their facts have no neurons"),
        (num_cut, "texts are longer than what is read, and were cut around their gap"),
        (
            num_unread,
            "texts have an answer of several tokens: they are left out of the correlation",
        ),
    )
    warnings = [f"{count} {what}" for count, what in counted if count]
    if signed:
        warnings.append(
            f"values fall to {lowest:.2f}: this feed-forward is gated, and the sign of its neurons "
            "is arbitrary; compare sizes with magnitude=True (--magnitude)"
        )
    return warnings
