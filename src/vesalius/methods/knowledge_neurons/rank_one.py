"""Rank-one editing (ROME): one feed-forward layer gives another value for one key.

k is what the neurons of the layer hold at the subject's last token, mean over the prompts; the
edit adds a vector d to what the layer writes there, W' = W + d (C^-1 k)^T / (k^T C^-1 k), and C,
the second moment of the neurons over other texts, keeps the change away from other keys.

Source: Meng et al., Locating and Editing Factual Associations in GPT, arXiv 2202.05262.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.core.card import RunCard, Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.data.facts import fill, load_facts, load_relations
from vesalius.methods.knowledge_neurons.edits import Edit, plan_edit
from vesalius.methods.knowledge_neurons.update import refuse_same
from vesalius.methods.knowledge_neurons.value_search import (
    RankOneConfig,
    Search,
    Value,
    prepare_search,
    search_value,
)
from vesalius.models.activity import check_layers, second_moments
from vesalius.models.answers import encode_answers
from vesalius.models.edits import SlotEdit, read_slots, slots_edited
from vesalius.models.encoding import MASK
from vesalius.models.ladder import logits_row, run_model
from vesalius.models.specimen import Specimen

_FACTS_PER_RELATION: Final = 16
_MOMENT_BYTES: Final = 1 << 30  # C of as many layers at once as fit in here


@final
@dataclass(frozen=True, kw_only=True)
class Trial:
    """The edit of one layer, tried out.

    ``reached`` is the share of the prompts that the new answer is now the best answer to,
    ``prob`` its mean probability, ``size`` |W' - W| over |W|.
    """

    value: Value
    slots: SlotEdit
    reached: float
    prob: float
    size: float

    def told(self) -> dict[str, float]:
        """The numbers of the trial, for the run card."""
        return {
            "layer": self.value.layer,
            "reached": self.reached,
            "prob": self.prob,
            "size": self.size,
            "shift_length": self.value.length,
            "loss_nats": self.value.loss_nats,
            "num_steps": self.value.num_steps,
        }


def rank_one(
    specimen: Specimen,
    prompts: str | Sequence[str],
    answer: str,
    new_answer: str,
    *,
    subject: str = "",
    layer: int | None = None,
    reference: Sequence[str] = (),
    essence: str | None = None,
    moments: Mapping[int, Float[Tensor, "neuron neuron"]] | None = None,
    config: RankOneConfig | None = None,
) -> Edit:
    """Plan a rank-one change of one feed-forward layer that makes a new answer likely.

    Args:
        specimen: a masked or causal language model; edits are tried out on it and undone.
        prompts: cloze prompts of the fact.
        answer: what the model says; like ``new_answer`` it may take several tokens.
        new_answer: what it should say.
        subject: at whose last token to edit, in every prompt; "" edits where the answer is read.
        layer: None tries all and keeps, of those that reach the answer, the one that changes least.
        reference: texts that should be read as before; the bundled facts where it is empty.
        essence: a prompt whose answer should stay; None: "SUBJECT is a [MASK].", "": none.
        moments: C by layer (:func:`second_moments`), for many edits of one model.
        config: steps and weights of the search.

    Raises:
        VesaliusError: bad prompts, answers, layer or texts. Value slots are [slot, d_model].
    """
    stopwatch = Stopwatch.start()
    config = config or RankOneConfig()
    prompts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    layers = range(specimen.num_layers) if layer is None else (layer,)
    check_layers(specimen, layers)
    old, new = (
        encode_answers(specimen, prompts, [word] * len(prompts), several_tokens=True)
        for word in (answer, new_answer)
    )
    refuse_same(old.targets, new.targets, answer=answer, new_answer=new_answer)
    search = prepare_search(specimen, prompts, new, subject=subject, essence=essence, config=config)
    if not moments:
        reference = reference or reference_texts(masks=specimen.task == "masked-lm")
    best, told = None, []
    for each, moment in _moments(specimen, layers, reference, moments):
        trial = try_layer(search, each, moment)
        told.append(trial.told())
        best = trial if best is None or _rank(trial) < _rank(best) else best
    assert best is not None, "check_layers lets no model without layers through"
    return plan_edit(
        specimen,
        {best.value.layer: best.slots},
        card=_card(specimen, stopwatch, search, subject, best, told),
        method="rank-one",
        prompts=prompts,
        answer=answer,
        new_answer=new_answer,
    )


def _rank(trial: Trial) -> tuple[bool, float, float]:
    """Smaller is better: reached by half of the prompts and changed least, else most probable."""
    missed = trial.reached < 0.5
    return (missed, -trial.prob if missed else 0.0, trial.size)


def try_layer(search: Search, layer: int, moment: Float[Tensor, "neuron neuron"]) -> Trial:
    """Search the value of one layer, put the edit in force, read the answer, undo it.

    Args:
        search: prompts and keys.
        layer: counted from 0.
        moment: C, shape [neuron, neuron].

    Raises:
        VesaliusError: C of another shape or that cannot be inverted, or a key of zeros.
    """
    specimen = search.specimen
    value, key = search_value(search, layer), search.keys[layer]
    pull = _pull(key, moment, ridge=search.config.ridge, layer=layer)
    neurons = torch.arange(len(key))
    before = read_slots(specimen, layer, neurons).double()
    change = torch.outer(pull.to(before), value.shift.to(before))
    slots = SlotEdit(neurons=neurons, values=(before + change).to(specimen.dtype))
    reached = prob = 0.0
    if bool(torch.isfinite(slots.values).all()):
        with slots_edited(specimen, {layer: slots}):
            reached, prob = _read(search)
    return Trial(
        value=value,
        slots=slots,
        reached=reached,
        prob=prob,
        size=float(change.norm() / before.norm()),
    )


def _pull(
    key: Float[Tensor, " neuron"], moment: Float[Tensor, "neuron neuron"], *,
    ridge: float, layer: int,
) -> Float[Tensor, " neuron"]:  # fmt: skip
    """C^-1 k / (k^T C^-1 k): how much of the shift each neuron's slot takes."""
    wanted = (len(key), len(key))
    if tuple(moment.shape) != wanted or not bool(torch.isfinite(moment).all()):
        raise VesaliusError(
            given=f"a second moment of shape {tuple(moment.shape)} for layer {layer}",
            expected=f"finite numbers of shape {wanted}",
            fix="take second_moments of this model",
        )
    full = moment.to(key).clone()
    full.diagonal().add_(ridge * full.diagonal().mean())
    solved, failed = torch.linalg.solve_ex(full, key)
    denominator = solved @ key
    if bool(failed) or not bool(denominator > 0) or not bool(torch.isfinite(solved).all()):
        raise VesaliusError(
            given=f"layer {layer}: a second moment that cannot be inverted, or a key of zeros",
            expected="neurons that the reference texts move",
            fix="give more reference texts, a larger ridge, or another layer",
        )
    return solved / denominator


def _read(search: Search) -> tuple[float, float]:
    """How many prompts have the new answer as their best one, and its mean probability."""
    specimen, steps = search.specimen, search.steps
    with specimen.at_rest(), torch.no_grad():
        logits = logits_row(run_model(specimen.model, steps.batch).logits, steps.batch)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    said = (logits.argmax(dim=1) == steps.targets) & ~logits.isnan().any(dim=1)
    missed = steps.total((~said).float())
    log_probs = logits.log_softmax(-1).gather(1, steps.targets.unsqueeze(1))[:, 0]
    probs = steps.total(log_probs).exp().nan_to_num(0.0)
    return float((missed == 0).float().mean()), float(probs.mean())


def _moments(
    specimen: Specimen,
    layers: Sequence[int],
    reference: Sequence[str],
    known: Mapping[int, Tensor] | None,
) -> Iterator[tuple[int, Tensor]]:
    """C of each layer, counted over the reference texts unless it is known."""
    if known:
        for layer in layers:
            if layer not in known:
                raise VesaliusError(
                    given=f"moments of the layers {sorted(known)}",
                    expected=f"that of layer {layer} too",
                    fix="name the layer to edit, or count them all with second_moments",
                )
            yield layer, known[layer]
        return
    widest = max(specimen.plan.calls[layer].feed_forward.num_inputs for layer in layers)
    at_once = max(1, _MOMENT_BYTES // (8 * widest**2))
    for start in range(0, len(layers), at_once):
        group = layers[start : start + at_once]
        yield from second_moments(specimen, reference, layers=group).items()


def reference_texts(*, masks: bool) -> tuple[str, ...]:
    """Write bundled facts out as sentences: what an edit should leave as it is; no shapes.

    Args:
        masks: each sentence once more with ``[MASK]`` for its answer. A masked LM needs them:
            without, the keys of all masks look new, and other facts change along.

    Source: this project, in the place of the paper's Wikipedia texts.
    """
    texts: list[str] = []
    counts: dict[str, int] = {}
    for fact in load_facts():
        number = counts[fact.relation] = counts.get(fact.relation, -1) + 1
        if number < _FACTS_PER_RELATION:
            templates = load_relations()[fact.relation].ask
            template = templates[number % len(templates)]
            texts.append(fill(template, fact, answer=fact.answer))
            texts += [fill(template, fact, answer=MASK)] if masks else []
    return tuple(texts)


def _card(
    specimen: Specimen, stopwatch: Stopwatch, search: Search, subject: str, best: Trial,
    trials: Sequence[dict[str, float]],
) -> RunCard:  # fmt: skip
    missed = f"the new answer is the best one to {best.reached:.0%} of the prompts after the edit"
    return make_card(
        "neurons rank-one",
        stopwatch=stopwatch,
        config=asdict(search.config)
        | {
            "subject": subject,
            "position": search.position,
            "layer": best.value.layer,
            "trials": list(trials),
        },
        model=specimen.name,
        model_fingerprint=specimen.fingerprint,
        warnings=[missed] if best.reached < 0.5 else [],
    )
