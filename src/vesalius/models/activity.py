"""Feed-forward layers over whole texts: the second moment of their neurons, their output shifted.

Source: arXiv 2202.05262, section 3.1 (C = K K^T, and the value that is optimised at one token).
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models.batch import Batch
from vesalius.models.encoding import MASK
from vesalius.models.ladder import run_model
from vesalius.models.neurons import check_fired, neurons_replaced
from vesalius.models.specimen import Specimen
from vesalius.models.texts import encode_texts

_TEXTS_AT_ONCE = 64


def second_moments(
    specimen: Specimen, texts: Sequence[str], *, layers: Sequence[int]
) -> dict[int, Float[Tensor, "neuron neuron"]]:
    """Average k k^T over all tokens of some texts, k being the neurons of a layer at a token.

    Special tokens count, padding does not. A ``[MASK]`` in a text is read by a masked LM as its
    mask, by a causal one as the end of the text.

    Args:
        specimen: a masked or causal language model.
        texts: what the model should go on reading as before.
        layers: block calls, counted from 0.

    Returns:
        By layer, shape [neuron, neuron], double precision on the model's device.

    Raises:
        VesaliusError: no texts, an empty one, a layer that is not there, another kind of model.

    Source: arXiv 2202.05262, equation 2 (there over 100,000 texts of Wikipedia).
    """
    check_layers(specimen, layers)
    if isinstance(texts, str) or not texts:
        raise VesaliusError(
            given="one text, no list of them" if texts else "no texts",
            expected="texts that stand for what should stay",
            fix="pass a list of sentences, a hundred or more",
        )
    written = [_as_read(specimen, text) for text in texts]
    written.sort(key=len)  # texts of one length share a batch: less padding
    sums: dict[int, Tensor] = {}
    count = 0
    with specimen.at_rest(), torch.no_grad():
        for start in range(0, len(written), _TEXTS_AT_ONCE):
            batch = encode_texts(specimen, written[start : start + _TEXTS_AT_ONCE])
            count += int(batch.inputs["attention_mask"].sum())
            for layer, product in _products(specimen, batch, layers).items():
                sums[layer] = sums[layer] + product if layer in sums else product
    return {layer: total / count for layer, total in sums.items()}


def check_layers(specimen: Specimen, layers: Sequence[int]) -> None:
    """Refuse a layer that is not there, and a model that is neither masked nor causal.

    Raises:
        VesaliusError: as said. No shapes.

    Source: this project.
    """
    if specimen.task not in ("masked-lm", "causal-lm"):
        raise VesaliusError(
            given=f"{specimen.name}, a model with the task {specimen.task!r}",
            expected="a masked or a causal language model, which reads a text in one stack",
            fix="use update or erase, which any language model takes",
        )
    for layer in layers:
        if not 0 <= layer < specimen.num_layers:
            raise VesaliusError(
                given=f"layer {layer}",
                expected=f"a layer from 0 to {specimen.num_layers - 1}",
                fix="count layers from 0, from the input upwards",
            )


def _as_read(specimen: Specimen, text: str) -> str:
    if specimen.task == "causal-lm":
        return text.partition(MASK)[0].rstrip()
    return text.replace(MASK, str(specimen.tokenizer.mask_token))


def _products(specimen: Specimen, batch: Batch, layers: Sequence[int]) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}
    real = batch.inputs["attention_mask"].bool()

    def note(layer: int, neurons: Tensor) -> Tensor:
        if layer in layers:
            keys = neurons[real.to(neurons.device)].double()
            found[layer] = keys.T @ keys
        return neurons

    with neurons_replaced(specimen.parts, note, num_prompts=batch.num_prompts) as fired:
        run_model(specimen.model, batch)
    check_fired(fired, specimen.num_layers, specimen.model)
    return found


@contextmanager
def output_shifted(
    specimen: Specimen,
    layer: int,
    *,
    rows: Int[Tensor, " batch"],
    shift: Float[Tensor, " d_model"],
) -> Generator[None, None, None]:
    """Add a vector to what one feed-forward layer writes at one row of each prompt.

    The context holds one forward pass; gradients flow into the vector.

    Args:
        specimen: the opened model.
        layer: block call, counted from 0.
        rows: where, shape [batch].
        shift: what is added, shape [d_model].

    Raises:
        VesaliusError: another number of feed-forward layers fired.

    Source: arXiv 2202.05262, section 3.1, step 2.
    """
    num_fired = 0
    everyone = torch.arange(len(rows), device=rows.device)

    def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        nonlocal num_fired
        num_fired += 1
        if num_fired - 1 != layer:
            return output
        unfolded = output.reshape(len(rows), -1, output.shape[-1])
        added = shift.to(unfolded).expand(len(rows), -1)
        moved = unfolded.index_put((everyone, rows), added, accumulate=True)
        return moved.reshape(output.shape)

    blocks = specimen.parts.blocks
    handles = [part.feed_forward.module.register_forward_hook(hook) for part in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    check_fired(range(num_fired), specimen.num_layers, specimen.model)
