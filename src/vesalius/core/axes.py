"""The axis words, fixed once: every jaxtyping shape of the package is spelled with these.

A word that is not in this list is a private letter of one function and stays inside it.
A count of an axis starts with ``num_``; a position along it ends in ``_index``.

Source: the design of this project, docs/decisions.md.
"""

from typing import Final

AXES: Final[dict[str, str]] = {
    "batch": "one entry per prompt",
    "layer": "Transformer blocks, bottom to top",
    "head": "attention heads of one layer, those of a key/value group counted apart",
    "query": "the token that reads",
    "key": "the token that is read",
    "position": "tokens of a prompt, padding included",
    "neuron": "inputs of the last linear map of one feed-forward block (d_ff of them)",
    "d_model": "width of the residual stream",
    "vocab": "token ids",
    "step": "training or optimisation steps",
    "node": "quadrature nodes along a line of integration",
    "stream": "altered copies of a run that climb the layers beside the clean one",
}
