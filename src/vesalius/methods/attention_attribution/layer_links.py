"""The links of one text: which token read which, layer by layer, heads summed.

Tokens of an encoder-decoder model are numbered through, those of the source first; a decoder block
has its own links and those to the source in one layer.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float

from vesalius.core.errors import VesaliusError


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LayerLinks:
    """Attributions and attention of one text, summed over heads.

    ``scores`` [layer, query, key] say how much the query token's reading of the key token adds to
    the target; ``weights`` [layer, query, key] are the attention probabilities, mean over heads.
    ``special`` marks tokens such as [CLS]. ``reader`` is the one token that the prediction is read
    from, None where it is read from several.
    """

    tokens: tuple[str, ...]
    special: Bool[np.ndarray, " position"]
    reader: int | None
    scores: Float[np.ndarray, "layer query key"]
    weights: Float[np.ndarray, "layer query key"]

    def __post_init__(self) -> None:
        """Refuse numbers that do not belong together.

        Raises:
            VesaliusError: another number of tokens than of rows, or scores that are no numbers.
        """
        n = len(self.tokens)
        fits = self.scores.ndim == 3 and self.scores.shape[1:] == (n, n)
        if not n or not fits or self.weights.shape != self.scores.shape or len(self.special) != n:
            raise VesaliusError(
                given=f"{n} tokens, scores of shape {list(self.scores.shape)}, weights of shape "
                f"{list(self.weights.shape)}",
                expected="[layer, query, key] with a row and a column for each token",
                fix="take them from Attributions.layer_links",
            )
        if not np.isfinite(self.scores).all():
            raise VesaliusError(
                given="scores that are not a number",
                expected="finite attributions",
                fix="open the model with dtype float32",
            )

    @property
    def num_layers(self) -> int:
        """How many layers there are."""
        return len(self.scores)

    @property
    def num_tokens(self) -> int:
        """How many tokens there are."""
        return len(self.tokens)

    @property
    def positive_total(self) -> float:
        """The sum of all positive links between different tokens."""
        between = self.scores * ~np.eye(self.num_tokens, dtype=bool)
        return float(between[between > 0].sum(dtype=np.float64))
