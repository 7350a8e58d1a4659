"""The value that rank-one editing writes: searched by gradient descent at one token of a layer.

Source: arXiv 2202.05262, section 3.1, step 2 (equation 4).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.activity import output_shifted
from vesalius.models.answers import AnswerSteps
from vesalius.models.batch import Batch
from vesalius.models.calls import take_rows
from vesalius.models.encoding import MASK, encode_prompts
from vesalius.models.ladder import logits_row, record, run_model
from vesalius.models.neurons import read_neurons
from vesalius.models.specimen import Specimen
from vesalius.models.subjects import subject_rows


@final
@dataclass(frozen=True, kw_only=True)
class RankOneConfig:
    """How the new value is searched for, and how the change is kept away from other keys.

    Lengths are in units of the residual stream at the edited token: |block input| + |what the
    feed-forward writes|. Adam takes up to ``num_steps`` steps of ``learning_rate``, ends below
    ``enough_nats`` of loss per prompt, pays ``weight_decay`` times the squared length of the shift,
    and is held below ``max_length``. ``kl_weight`` weighs the divergence at the essence prompt.
    ``ridge`` is added to C, as a share of its mean diagonal. The paper's numbers where it gives
    any (KL 0.0625, length 4, though in units of what the layer writes); the others were tried on
    the bundled models.
    """

    num_steps: int = 40
    learning_rate: float = 0.2
    weight_decay: float = 0.02
    max_length: float = 4.0
    kl_weight: float = 0.0625
    enough_nats: float = 0.05
    ridge: float = 1e-2

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            VesaliusError: a number of steps below 1, or another option that is negative or no
                number; the learning rate and the longest length may not be zero either.
        """
        if not isinstance(self.num_steps, Integral) or self.num_steps < 1:
            raise VesaliusError(
                given=f"num_steps={self.num_steps!r}",
                expected="a whole number from 1",
                fix="leave it at 40",
            )
        names = ("learning_rate", "max_length", "weight_decay", "kl_weight", "enough_nats", "ridge")
        for name in names:
            value = getattr(self, name)
            is_number = isinstance(value, Real) and math.isfinite(value) and float(value) >= 0
            if not is_number or (value == 0 and name in names[:2]):
                above = "above" if name in names[:2] else "from"
                raise VesaliusError(
                    given=f"{name}={value!r}",
                    expected=f"a finite number {above} 0",
                    fix=f"leave it at {RankOneConfig.__dataclass_fields__[name].default}",
                )


@final
@dataclass(frozen=True, kw_only=True)
class Essence:
    """A prompt whose answer should stay: its batch, the subject's rows, its clean log p."""

    batch: Batch
    rows: Int[Tensor, " batch"]
    log_probs: Float[Tensor, "batch vocab"]


@final
@dataclass(frozen=True, kw_only=True)
class Search:
    """What the searches of all layers have in common.

    ``rows`` [step] is the token that is edited in each row of the batch; by layer, ``keys`` hold
    its mean neurons [neuron] and ``units`` the length that shifts are measured in.
    """

    specimen: Specimen
    steps: AnswerSteps
    position: Literal["subject", "answer"]
    rows: Int[Tensor, " step"]
    keys: tuple[Tensor, ...]
    units: tuple[float, ...]
    essence: Essence | None
    config: RankOneConfig


@final
@dataclass(frozen=True, kw_only=True)
class Value:
    """What a layer should write more at the edited token: ``shift`` [d_model].

    ``loss_nats`` is the new answer's negative log-probability with it, mean over the prompts,
    ``length`` that of the shift in units of the residual stream.
    """

    layer: int
    shift: Float[Tensor, " d_model"]
    loss_nats: float
    length: float
    num_steps: int


def prepare_search(
    specimen: Specimen,
    prompts: Sequence[str],
    steps: AnswerSteps,
    *,
    subject: str,
    essence: str | None,
    config: RankOneConfig,
) -> Search:
    """Find the tokens to edit, and read keys [neuron] and lengths of every layer there.

    Args:
        specimen: a masked or causal language model.
        prompts: the prompts that ``steps`` was made of.
        steps: the prompts with the new answer.
        subject: at whose last token to edit; "" for the token where the answer is read.
        essence: None asks "SUBJECT is a [MASK]."; "" leaves the divergence out.
        config: kept for the search.

    Raises:
        VesaliusError: no such subject in a prompt, or answers of several tokens that a masked LM
            should read at the edited token itself.
    """
    if subject:
        asked = [prompts[int(i)] for i in steps.prompt.tolist()]
        rows = subject_rows(specimen, steps.batch, asked, subject)
    else:
        rows = _answer_rows(specimen, steps)
    there = replace(steps.batch, row=rows)
    with specimen.at_rest(), torch.no_grad():
        keys = read_neurons(specimen.model, specimen.parts, there, calls=specimen.plan.calls)
        ladder = record(specimen.model, specimen.parts, steps.batch, seam=False)
        units: list[float] = []
        for call, key in zip(ladder.calls, keys, strict=True):
            read = take_rows(call.hidden, rows)[:, 0]
            written = call.part.feed_forward.module(key)
            units.append(float((read.norm(dim=1) + written.norm(dim=1)).mean()))
    wanted = subject and config.kl_weight and essence != ""
    return Search(
        specimen=specimen,
        steps=steps,
        position="subject" if subject else "answer",
        rows=rows,
        keys=tuple(key.double().mean(dim=0) for key in keys),
        units=tuple(units),
        essence=_essence(specimen, essence or f"{subject} is a {MASK}.", subject)
        if wanted
        else None,
        config=config,
    )


def _answer_rows(specimen: Specimen, steps: AnswerSteps) -> Int[Tensor, " step"]:
    """The row where each prompt's answer begins, in all of its steps."""
    if specimen.task == "masked-lm" and not steps.is_plain:
        raise VesaliusError(
            given="an answer of several tokens, read at several masks",
            expected="one token to edit",
            fix="name the subject, so that the edit is made there",
        )
    number = torch.arange(len(steps.prompt), device=steps.prompt.device)
    return steps.batch.row - (number - steps.first[steps.prompt])


def _essence(specimen: Specimen, prompt: str, subject: str) -> Essence:
    batch = encode_prompts(specimen, [prompt])
    rows = subject_rows(specimen, batch, [prompt], subject)
    with specimen.at_rest(), torch.no_grad():
        return Essence(batch=batch, rows=rows, log_probs=_log_probs(specimen, batch))


def _log_probs(specimen: Specimen, batch: Batch) -> Float[Tensor, "batch vocab"]:
    logits = logits_row(run_model(specimen.model, batch).logits, batch)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def search_value(search: Search, layer: int) -> Value:
    """Search for the shift [d_model] of one layer's output that brings the new answer.

    Equation 4 of the paper: the answer's negative log-probability, mean over the prompts, plus
    KL(edited || clean) at the essence prompt; weight decay and the bound as in the authors' code.
    """
    specimen, config = search.specimen, search.config
    d_model = search.specimen.plan.calls[layer].feed_forward.num_outputs
    unit = search.units[layer] / math.sqrt(d_model)  # so that a shift of ones has length 1
    dtype = torch.promote_types(specimen.dtype, torch.float32)
    shift = torch.zeros(d_model, dtype=dtype, device=specimen.device, requires_grad=True)
    adam = torch.optim.Adam([shift], lr=config.learning_rate)
    longest = config.max_length * math.sqrt(d_model)
    nats, num_steps = math.inf, 0
    with specimen.at_rest(), torch.enable_grad():
        for num_steps in range(config.num_steps + 1):
            loss = _answer_nats(search, layer, shift * unit)
            nats = float(loss.detach())
            if nats < config.enough_nats or num_steps == config.num_steps or math.isnan(nats):
                break
            loss = loss + config.weight_decay * shift.square().mean()
            loss = loss + config.kl_weight * _divergence(search, layer, shift * unit)
            adam.zero_grad()
            loss.backward()
            adam.step()
            with torch.no_grad():
                shift *= min(1.0, longest / max(float(shift.norm()), longest))
    return Value(
        layer=layer,
        shift=shift.detach() * unit,
        loss_nats=nats,
        length=float(shift.detach().norm()) / math.sqrt(d_model),
        num_steps=num_steps,
    )


def _answer_nats(search: Search, layer: int, shift: Tensor) -> Float[Tensor, ""]:
    """The new answer's negative log-probability with a shift, mean over the prompts."""
    steps = search.steps
    with output_shifted(search.specimen, layer, rows=search.rows, shift=shift):
        log_probs = _log_probs(search.specimen, steps.batch)
    return -steps.total(log_probs.gather(1, steps.targets.unsqueeze(1))[:, 0]).mean()


def _divergence(search: Search, layer: int, shift: Tensor) -> Float[Tensor, ""]:
    essence = search.essence
    if essence is None:
        return shift.new_zeros(())
    with output_shifted(search.specimen, layer, rows=essence.rows, shift=shift):
        now = _log_probs(search.specimen, essence.batch)
    return (now.exp() * (now - essence.log_probs)).sum(dim=1).mean()
