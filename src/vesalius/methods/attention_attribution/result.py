"""The result of ``attention attribute``: every head's attributions, text by text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, register_result
from vesalius.methods.attention_attribution.layer_links import LayerLinks
from vesalius.models.token_words import TokenWords


@final
@dataclass(frozen=True, kw_only=True)
class Site:
    """One call of an attention module; see ``models.attention_sites``."""

    name: str
    layer: int
    num_heads: int
    kind: str
    stack: str


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Links:
    """Links of one text in columns [link]: where, the attribution and the probability."""

    site: Int[np.ndarray, " link"]
    head: Int[np.ndarray, " link"]
    query: Int[np.ndarray, " link"]
    key: Int[np.ndarray, " link"]
    score: Float[np.ndarray, " link"]
    weight: Float[np.ndarray, " link"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One text: what the model says, and which token read which.

    ``target`` is the class or word that was attributed, with its ``prob``; ``foil`` what it was
    told apart from, or nothing. ``reader`` is the position (of the decoder, where there is one)
    that the prediction is read from, None where it is read from several. ``end_value`` is F(1),
    ``start_value`` [site] F(0), ``gap`` [site] what the sum of attributions misses, ``num_nodes``
    [site] the nodes it took. ``scores`` and ``weights`` hold a matrix [head, query, key] for each
    site; where only the strongest links were kept, they are empty and ``links`` has those.
    """

    text: TokenWords
    decoder_text: TokenWords | None
    reader: int | None
    target: str
    target_index: int
    predicted: str
    foil: str
    prob: float
    end_value: float
    start_value: Float[np.ndarray, " site"]
    gap: Float[np.ndarray, " site"]
    num_nodes: Int[np.ndarray, " site"]
    scores: tuple[Float[np.ndarray, "_ _ _"], ...]
    weights: tuple[Float[np.ndarray, "_ _ _"], ...]
    links: Links | None


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Attributions(AbstractResult):
    """Self-attention attributions of some texts; ``sites`` are named in the order they run."""

    kind: ClassVar[str] = "attention_attribution.attribute"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("attention_attribution",)

    sites: tuple[Site, ...]
    examples: tuple[Example, ...]

    @property
    def max_gap(self) -> float:
        """The largest completeness gap, in units of the target; 0 would be exact."""
        return max(float(example.gap.max()) for example in self.examples)

    def site_scores(self, example: int, site: int) -> Float[np.ndarray, "head query key"]:
        """Give the attributions of one site, [head, query, key]; links not kept are 0.

        Raises:
            VesaliusError: no such text or site.
        """
        return self._matrix(example, site, "score")

    def site_weights(self, example: int, site: int) -> Float[np.ndarray, "head query key"]:
        """Give the attention probabilities of one site, [head, query, key]; not kept: 0.

        Raises:
            VesaliusError: no such text or site.
        """
        return self._matrix(example, site, "weight")

    def layer_links(self, example: int = 0, *, words: bool = True) -> LayerLinks:
        """Sum one text's links over heads, layer by layer; word pieces joined unless not wanted.

        Attributions of joined pieces add up. Probabilities are the mean over heads and over the
        pieces that read, summed over the pieces that are read.

        Raises:
            VesaliusError: no such text.
        """
        from vesalius.methods.attention_attribution.linking import layer_links

        self._check(example, 0)
        return layer_links(self, example, words=words)

    def to_table(self) -> pa.Table:
        """One row per stored link of every text: where, tokens, attribution, probability.

        Source: this project.
        """
        from vesalius.methods.attention_attribution.linking import link_table

        return link_table(self)

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None, *, example: int = 0, tau: float = 0.4) -> Any:
        """Draw the attribution tree of one text; returns matplotlib Axes.

        Raises:
            VesaliusError: no such text, or a tau outside [0, 1].

        Source: figure 6 of arXiv 2004.11207.
        """
        from vesalius.methods.attention_attribution.plot import plot_tree
        from vesalius.methods.attention_attribution.tree import build_tree

        return plot_tree(build_tree(self.layer_links(example), tau=tau), ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page with every text's tree, links and heads.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.attention_attribution.report import write_attributions

        return write_attributions(self, path, force=force)

    def _matrix(self, example: int, site: int, what: str) -> Float[np.ndarray, "head query key"]:
        self._check(example, site)
        one = self.examples[example]
        if one.links is None:
            return (one.scores if what == "score" else one.weights)[site]
        here = one.links.site == site
        queries, keys = self._shape(one, self.sites[site])
        dense = np.zeros((self.sites[site].num_heads, queries, keys), dtype=one.links.score.dtype)
        place = tuple(getattr(one.links, axis)[here] for axis in ("head", "query", "key"))
        dense[place] = getattr(one.links, what)[here]
        return dense

    @staticmethod
    def _shape(example: Example, site: Site) -> tuple[int, int]:
        source = len(example.text.tokens)
        written = source if example.decoder_text is None else len(example.decoder_text.tokens)
        queries = written if site.stack == "decoder" else source
        return queries, queries if site.kind == "self" else source

    def _check(self, example: int, site: int) -> None:
        if not (0 <= example < len(self.examples) and 0 <= site < len(self.sites)):
            raise VesaliusError(
                given=f"text {example}, attention site {site}",
                expected=f"texts 0 to {len(self.examples) - 1}, sites 0 to {len(self.sites) - 1}",
                fix="count both from 0",
            )
