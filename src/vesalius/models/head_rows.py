"""Project only the rows that are read, and only the columns that are wanted, to the vocabulary.

Source: this project; the head's own forward and what the model does to logits stay as they are.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from vesalius.models.linear import as_linear_map


@contextmanager
def head_rows(
    model: nn.Module, rows: Int[Tensor, "batch place"]
) -> Generator[list[bool], None, None]:
    """Let the head see only ``rows`` [batch, place] of its hidden states, so that the logits are
    [batch, place, vocab]; undone on exit.

    Gives a list that holds True once the head was met: a model without a head module of its own
    returns all its rows, and the caller takes them out.

    Source: this module.
    """  # fmt: skip
    met: list[bool] = []
    head = output_layer(model)
    if head is None:
        yield met
        return

    def cut(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args or not isinstance(args[0], Tensor) or args[0].dim() != 3:
            return None
        hidden = args[0]
        met.append(True)
        places = rows.to(hidden.device).unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        return (hidden.gather(1, places), *args[1:])

    hook = head.register_forward_pre_hook(cut)
    try:
        yield met
    finally:
        hook.remove()


def logits_at(
    model: nn.Module, places: Int[Tensor, "batch place"], run: Callable[[], Any]
) -> Float[Tensor, "batch place vocab"]:
    """Run a model by ``run`` and give its logits at ``places`` [batch, place] alone.

    Returns:
        Shape [batch, place, vocab].

    Source: this module.
    """
    with head_rows(model, places) as met:
        logits: Tensor = run().logits
    if met:
        return logits
    index = places.to(logits.device).unsqueeze(-1).expand(-1, -1, logits.shape[-1])
    return logits.gather(1, index)


@contextmanager
def head_columns(model: nn.Module, columns: Int[Tensor, " column"]) -> Generator[bool, None, None]:
    """Let the head compute only ``columns`` [column] of the vocabulary; undone on exit.

    Gives False, and changes nothing, where the head is no plain linear layer.

    Source: this module.
    """
    head = output_layer(model)
    found = None if head is None else as_linear_map("head", head)
    if head is None or found is None or found.input_axis != 1 or type(head) is not nn.Linear:
        yield False
        return
    own = head.__dict__.get("forward")
    wanted: Any = head
    weight = wanted.weight.detach().index_select(0, columns.to(wanted.weight.device))
    bias = None
    if wanted.bias is not None:
        bias = wanted.bias.detach().index_select(0, columns.to(wanted.bias.device))

    def project(hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden, weight, bias)

    wanted.forward = project
    try:
        yield True
    finally:
        del head.forward
        if own is not None:
            head.forward = own


def output_layer(model: nn.Module) -> nn.Module | None:
    """Give the module that projects to the vocabulary, or None; no shapes change hands.

    Source: ``get_output_embeddings`` of the transformers library.
    """
    wrapped: Any = model
    base: Any = wrapped.get_base_model() if hasattr(model, "get_base_model") else wrapped
    getter = getattr(base, "get_output_embeddings", None)
    head = getter() if getter is not None else None
    return head if isinstance(head, nn.Module) else None
