"""What is measured of every example: its loss, whether the model errs, and what a user adds.

A measure takes the model and a batch and gives one number for each example. These run on every
point of a landscape, so they read the batch once and leave all averaging to later.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from vesalius.core.errors import VesaliusError

Inputs = Mapping[str, Tensor]
Measure = Callable[[nn.Module, Inputs], Mapping[str, Float[Tensor, " example"]]]
# From logits [example, label] and classes [example] to one number for each example.
Metric = Callable[[Float[Tensor, "example label"], Int[Tensor, " example"]], Tensor]

LOSS: Final = "loss"
ERROR: Final = "error"
NO_TARGET: Final = -100  # what cross entropy leaves out


def classification(metrics: Mapping[str, Metric]) -> Measure:
    """Measure a classifier: cross entropy in nats, 0 or 1 for the wrong class, other metrics.

    The batch holds ``labels`` [example] beside the inputs; values [example].

    Source: arXiv 1908.05620, section 3.
    """

    def measure(model: nn.Module, batch: Inputs) -> dict[str, Tensor]:
        labels = batch["labels"]
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        logits = model(**inputs).logits
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        found = {
            LOSS: functional.cross_entropy(logits, labels, reduction="none"),
            ERROR: _wrong(logits, labels),
        }
        own = {name: _taken(name, metric, logits, labels) for name, metric in metrics.items()}
        return found | own

    return measure


def next_tokens(model: nn.Module, batch: Inputs) -> dict[str, Float[Tensor, " example"]]:
    """Measure a causal language model: mean nats per token, and the share of tokens it misses.

    Source: this project: the error of a language model is that of its first guess.
    """
    ids, mask = batch["input_ids"], batch["attention_mask"]
    targets = ids[:, 1:].masked_fill(mask[:, 1:] == 0, NO_TARGET)
    return _token_measures(model(**batch, use_cache=False).logits[:, :-1], targets)


def masked_tokens(model: nn.Module, batch: Inputs) -> dict[str, Float[Tensor, " example"]]:
    """Measure a masked language model at its ``labels`` [example, position]; as next_tokens.

    Source: this project.
    """
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    return _token_measures(model(**inputs).logits, batch["labels"])


def _token_measures(
    logits: Float[Tensor, "example position vocab"], targets: Int[Tensor, "example position"]
) -> dict[str, Float[Tensor, " example"]]:
    counted = targets != NO_TARGET
    wide = logits[counted].to(torch.promote_types(logits.dtype, torch.float32))
    losses = functional.cross_entropy(wide, targets[counted], reduction="none")
    wrong = _wrong(wide, targets[counted])
    owner = torch.arange(len(targets), device=targets.device).unsqueeze(1).expand_as(targets)
    numbers = counted.sum(dim=1).to(losses.dtype)

    def mean(values: Tensor) -> Tensor:
        total = torch.zeros(len(targets), dtype=values.dtype, device=values.device)
        return total.index_add(0, owner[counted], values) / numbers

    return {LOSS: mean(losses), ERROR: mean(wrong)}


def _taken(
    name: str,
    metric: Metric,
    logits: Float[Tensor, "example label"],
    labels: Int[Tensor, " example"],
) -> Float[Tensor, " example"]:
    """What a metric of the user's gives, if it is a number for each example."""
    try:
        found: Any = metric(logits, labels)
    except Exception as error:
        raise _no_metric(name, f"{type(error).__name__}: {error}") from error
    if not isinstance(found, Tensor) or found.shape != labels.shape:
        shape = f" of shape {list(found.shape)}" if isinstance(found, Tensor) else ""
        raise _no_metric(name, f"a {type(found).__name__}{shape} for {len(labels)} examples")
    return found.to(logits.dtype)


def _no_metric(name: str, given: str) -> VesaliusError:
    return VesaliusError(
        given=f"metric {name!r}: {given}",
        expected="a tensor with one number for each example",
        fix="let the function return such, from logits [example, label] and classes [example]",
    )


def _wrong(
    logits: Float[Tensor, "row label"], labels: Int[Tensor, " row"]
) -> Float[Tensor, " row"]:
    """1 for another guess than the label; NaN where logits are not numbers: there is no guess."""
    wrong = (logits.argmax(dim=-1) != labels).to(logits.dtype)
    return wrong.masked_fill(logits.isnan().any(dim=-1), float("nan"))


def find_metric(name: str, given: Metric | str) -> Metric:
    """Take a metric, or import the one that ``package.module:function`` names.

    The function takes logits [example, label] and classes [example].

    Raises:
        VesaliusError: a name that is taken, or a function that cannot be imported.

    Source: the entry points of Python packaging.
    """
    if name in (LOSS, ERROR):
        raise VesaliusError(
            given=f"a metric named {name!r}",
            expected="another name: loss and error are always measured",
            fix="call it by what it measures, such as brier",
        )
    if not isinstance(given, str):
        return given
    module, _, function = given.partition(":")
    try:
        return _imported(module, function)
    except (ImportError, AttributeError, ValueError) as error:
        raise VesaliusError(
            given=f"metric {given!r} ({error})",
            expected="package.module:function",
            fix="name a function that can be imported, of logits and classes",
        ) from error


def _imported(module: str, function: str) -> Any:
    found = getattr(import_module(module), function)
    if not callable(found):
        raise ValueError(f"a {type(found).__name__} stands there")
    return found
