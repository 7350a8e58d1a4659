"""Update a fact: take the old answer out of its value slots and write the new one in.

Source: arXiv 2104.08696, section 5.1.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.core.card import RunCard, Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.methods.knowledge_neurons.edits import Edit, distinct_slots, plan_edit
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.models.answers import AnswerSteps, encode_answers
from vesalius.models.batch import Batch
from vesalius.models.edits import SlotEdit, read_slots, slot_layers
from vesalius.models.neurons import read_neurons
from vesalius.models.specimen import Specimen
from vesalius.models.word_vectors import word_vectors


def update(
    specimen: Specimen,
    prompts: str | Sequence[str],
    answer: str,
    new_answer: str,
    neurons: Sequence[Neuron],
    *,
    relation_sets: Iterable[Sequence[Neuron]] = (),
    max_shared: float = 0.1,
    weight_old: float = 1.0,
    weight_new: float = 8.0,
    by_sign: bool = True,
    seed: int = 0,
) -> Edit:
    """Plan V := V + s |V| (weight_new e(new) / |e(new)| - weight_old e(old) / |e(old)|) per slot.

    s is the sign of a neuron's mean value at the gap: a slot whose neuron is negative there, as
    half of them are in gated blocks, would otherwise push the new answer away.

    Args:
        specimen: the opened model; it is not touched.
        prompts: cloze prompts of the fact.
        answer: what the model says, one token.
        new_answer: what it should say, one token.
        neurons: the fact's (layer, neuron) pairs.
        relation_sets: the sets of all facts of the relation, this one's included.
        max_shared: neurons in more of these sets than this share (and in two or more) are left out.
        weight_old, weight_new: the paper's lambdas, in units of the slot's length.
        by_sign: False puts s = 1, the paper's formula (its BERT neurons are hardly negative).
        seed: of neurons drawn at random; it is only noted in the card.

    Raises:
        VesaliusError: bad prompts or answers, no neurons left. Slots are [slot, d_model].
    """
    stopwatch = Stopwatch.start()
    prompts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    config = {
        "max_shared": _checked("max_shared", max_shared, most=1.0),
        "weight_old": _checked("weight_old", weight_old),
        "weight_new": _checked("weight_new", weight_new),
        "by_sign": by_sign,
    }
    old = encode_answers(specimen, prompts, [answer] * len(prompts))
    new = encode_answers(specimen, prompts, [new_answer] * len(prompts))
    refuse_same(old.targets, new.targets, answer=answer, new_answer=new_answer)
    step = weight_new * _direction(specimen, new) - weight_old * _direction(specimen, old)
    signs = _signs(specimen, old.batch, neurons, by_sign=by_sign)
    sets = [frozenset(distinct_slots(specimen, each)) for each in relation_sets]
    kept, dropped = _split_shared(list(signs), sets, max_shared)
    config |= {"num_relation_sets": len(sets)}
    return plan_edit(
        specimen,
        _moved(specimen, {slot: signs[slot] for slot in kept}, step),
        card=_card(specimen, stopwatch, config, seed=seed),
        method="update",
        prompts=prompts,
        answer=answer,
        new_answer=new_answer,
        dropped=dropped,
    )


def _card(
    specimen: Specimen, stopwatch: Stopwatch, config: Mapping[str, object], *, seed: int
) -> RunCard:
    return make_card(
        "neurons update",
        stopwatch=stopwatch,
        config=config,
        model=specimen.name,
        model_fingerprint=specimen.fingerprint,
        seed=seed,
    )


def refuse_same(
    old: Int[Tensor, " old_step"], new: Int[Tensor, " new_step"], *, answer: str, new_answer: str
) -> None:
    """Refuse a new answer that is read as the old one; tokens of shape [old_step], [new_step].

    Raises:
        VesaliusError: the two are spelled with the same tokens.

    Source: this project.
    """
    if torch.equal(old, new):
        raise VesaliusError(
            given=f"the answer {answer!r} and the new answer {new_answer!r}, the same tokens",
            expected="two different words",
            fix="name what the model should say instead",
        )


def _direction(specimen: Specimen, steps: AnswerSteps) -> Float[Tensor, " d_model"]:
    """The word vector of an answer, of length 1.

    A byte-level vocabulary has a word twice, behind a space and without: then the mean over the
    prompts of the vector that each of them asks for.
    """
    vectors = word_vectors(specimen, steps.targets)
    mean = (vectors / vectors.norm(dim=1, keepdim=True)).mean(dim=0)
    return mean / mean.norm()


def _moved(
    specimen: Specimen, signs: Mapping[Neuron, float], step: Float[Tensor, " d_model"]
) -> dict[int, SlotEdit]:
    """Every slot, moved by the step in units of its own length, with its neuron's sign."""
    values: dict[int, SlotEdit] = {}
    for layer in sorted({layer for layer, _ in signs}):
        chosen = [neuron for each, neuron in signs if each == layer]
        slots = read_slots(specimen, layer, torch.tensor(chosen))
        slots = slots.to(torch.promote_types(slots.dtype, torch.float32))
        sign = torch.tensor([signs[layer, neuron] for neuron in chosen]).to(slots)
        moves = sign.unsqueeze(1) * _lengths(slots, layer) * step.to(slots)
        values[layer] = SlotEdit(neurons=torch.tensor(chosen), values=slots + moves)
    return values


def shared_neurons(
    fact_sets: Sequence[frozenset[Neuron]], *, max_shared: float = 0.1
) -> frozenset[Neuron]:
    """Find the neurons that stand in more than a share of a relation's sets, and in two at least.

    The fact that is edited counts among the facts, as in the authors' code. A neuron of one fact
    alone is shared with nobody, however few facts the relation has.

    >>> sets = [frozenset({(0, 1), (2, 3)}), frozenset({(0, 1)}), frozenset()]
    >>> shared_neurons(sets)
    frozenset({(0, 1)})

    Source: arXiv 2104.08696, section 5.1; the floor of two facts is ours. No shapes.
    """
    counts = Counter(neuron for found in fact_sets for neuron in found)
    most = max(round(max_shared * len(fact_sets), 9), 1)
    return frozenset(neuron for neuron, count in counts.items() if count > most)


def _split_shared(
    slots: Sequence[Neuron], sets: Sequence[frozenset[Neuron]], max_shared: float
) -> tuple[list[Neuron], list[Neuron]]:
    shared = shared_neurons(sets, max_shared=max_shared)
    kept = [slot for slot in slots if slot not in shared]
    if not kept:
        raise VesaliusError(
            given=f"{len(slots)} neuron{'s' * (len(slots) > 1)}, each in more than "
            f"{max_shared:.0%} of the relation's {len(sets)} sets",
            expected="a neuron that is the fact's own",
            fix="raise max_shared, leave relation_sets out, or use rank_one",
        )
    return kept, [slot for slot in slots if slot in shared]


def _signs(
    specimen: Specimen, batch: Batch, neurons: Sequence[Neuron], *, by_sign: bool
) -> dict[Neuron, float]:
    """The sign of each slot's neurons where the answer is read, mean over prompts; 1 for zero."""
    slots = distinct_slots(specimen, neurons)
    if not slots:
        raise VesaliusError(
            given="no neurons",
            expected="at least one (layer, neuron) pair",
            fix="take those of neurons.locate; where it finds none, lower its share, or use "
            "rank_one, which needs none",
        )
    if not by_sign:
        return dict.fromkeys(slots, 1.0)
    with specimen.at_rest():
        seen = read_neurons(specimen.model, specimen.parts, batch, calls=specimen.plan.calls)
    first, sums = slot_layers(specimen), dict.fromkeys(slots, 0.0)
    for layer, neuron in dict.fromkeys((int(layer), int(neuron)) for layer, neuron in neurons):
        sums[first[layer], neuron] += float(seen[layer][:, neuron].float().mean())
    return {slot: math.copysign(1.0, total + 0.0) for slot, total in sums.items()}


def _lengths(slots: Float[Tensor, "neuron d_model"], layer: int) -> Float[Tensor, "neuron 1"]:
    lengths = slots.norm(dim=1, keepdim=True)
    if not bool(lengths.min() > 0):
        raise VesaliusError(
            given=f"a value slot of zeros in layer {layer}, erased before",
            expected="slots with a length, in whose units the edit is measured",
            fix="update first and erase then, or leave the erased neurons out",
        )
    return lengths


def _checked(name: str, value: float, *, most: float = math.inf) -> float:
    if not isinstance(value, Real) or not math.isfinite(value) or not 0 <= value <= most:
        raise VesaliusError(
            given=f"{name}={value!r}",
            expected=f"a finite number from 0{'' if most == math.inf else f' to {most:g}'}",
            fix="leave it at the paper's: max_shared=0.1, weight_old=1, weight_new=8",
        )
    return float(value)
