"""Word vectors: the rows by which a language model scores its words, in the width of its blocks.

Source: arXiv 2104.08696, section 5 (the e(t) that an update writes into value slots).
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models.specimen import Specimen


def word_vectors(
    specimen: Specimen, tokens: Int[Tensor, " token"]
) -> Float[Tensor, "token d_model"]:
    """Read the output embeddings of some tokens; the model is not touched.

    The paper's BERT has one table for input and output. Where a model has two, the output rows
    are meant: what a value slot adds to the residual stream is compared with them to score the
    words, while the input rows of an untied model mean nothing at the top. OPT-350m scores in a
    smaller space behind one linear map P without bias; there the vector is e P, exact.

    Args:
        specimen: a language model.
        tokens: vocabulary indices, shape [token].

    Returns:
        Shape [token, d_model], at least in single precision.

    Raises:
        VesaliusError: no output embeddings, quantised ones, a token that is not there or has a
            vector of zeros, or words scored in another space than that of the blocks (ALBERT and
            ELECTRA put a nonlinear map between the two).
    """
    table = _output_table(specimen)
    if bool(((tokens < 0) | (tokens >= table.shape[0])).any()):
        raise VesaliusError(
            given=f"tokens {tokens.tolist()[:8]}",
            expected=f"indices from 0 to {table.shape[0] - 1}, the model's vocabulary",
            fix="take them from answer_ids",
        )
    rows = table.detach().index_select(0, tokens.to(table.device))
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    if rows.shape[1] != specimen.parts.d_model:
        rows = _through_the_map(specimen, rows)
    if not bool(rows.norm(dim=1).min() > 0):
        raise VesaliusError(
            given=f"tokens {tokens.tolist()[:8]}, one of them with a vector of zeros",
            expected="words that the model has learned",
            fix="choose another word: this one was never trained",
        )
    return rows


def _output_table(specimen: Specimen) -> Tensor:
    get: Any = getattr(specimen.model, "get_output_embeddings", None)
    layer = get() if callable(get) else None
    weight: Any = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or weight.is_meta:
        what = "no output embeddings" if layer is None else f"a {type(layer).__name__}"
        raise VesaliusError(
            given=f"{specimen.name}: {what} to read word vectors from",
            expected="a language model with a floating-point output embedding in memory",
            fix="open it with its language-model head, without quantisation or offloading",
        )
    return weight


def _through_the_map(specimen: Specimen, rows: Tensor) -> Tensor:
    """Pull rows back through the one linear map between blocks and head: (e P) h = e (P h)."""
    d_model = specimen.parts.d_model
    for name, module in specimen.model.named_modules():
        if name.rpartition(".")[2] != "project_out" or not isinstance(module, nn.Linear):
            continue
        if getattr(module, "bias", None) is None and module.weight.shape[1] == d_model:
            return rows @ module.weight.detach().to(rows)
    raise VesaliusError(
        given=f"{specimen.name}: word vectors of width {rows.shape[1]}, blocks of {d_model}",
        expected="words that are scored in the space the neurons write into",
        fix="use rank_one, which learns what to write, or erase: neither needs word vectors",
    )
