"""Attribute many texts: the task of a resumable sweep."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np

from vesalius.methods.attention_attribution.attribute import attribute
from vesalius.methods.attention_attribution.config import AttributeConfig
from vesalius.methods.attention_attribution.linking import strongest_links
from vesalius.methods.attention_attribution.result import Attributions
from vesalius.methods.attention_attribution.tree import (
    DEFAULT_TAU,
    RootRule,
    Tree,
    TreeRule,
    build_tree,
)
from vesalius.models.opening import open_same
from vesalius.parallel.task import AbstractTask, Worker


@final
@dataclass(frozen=True, kw_only=True)
class AttributeTask(AbstractTask):
    """Attribute a text's prediction and grow its tree, one row per text.

    An item has ``text`` and may have ``pair``, ``label`` (the class to attribute; the predicted one
    without) and ``name``. A row has those, and: ``target``, ``predicted`` with its ``prob``,
    ``gap`` (the largest), ``tokens`` as words, the tree's ``root`` and its links as columns
    ``readers``, ``reads``, ``layers``, ``link_scores``, the share ``kept``; ``head_max``
    [site, head], the largest attribution of every head; and, with ``keep`` in the configuration,
    the strongest links as ``link_site``, ``link_head``, ``link_query``, ``link_key``,
    ``link_score``.

    Source: arXiv 2004.11207, sections 3 and 4.4.
    """

    model: str
    fingerprint: str
    revision: str = "main"
    device: str = "cpu"
    dtype: str = "float32"
    config: AttributeConfig = field(default_factory=AttributeConfig)
    tau: float = DEFAULT_TAU
    rule: TreeRule = "score"
    root: RootRule = "word"

    def open(self) -> Worker:
        """Open the model, and insist that it is the one the sweep was started with.

        Raises:
            VesaliusError: it cannot be opened, or has other weights.
        """
        specimen = open_same(
            self.model,
            fingerprint=self.fingerprint,
            revision=self.revision,
            device=self.device,
            dtype=self.dtype,
        )

        def work(item: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
            pair = item.get("pair") or None
            found = attribute(
                specimen,
                [item["text"]],
                pairs=None if pair is None else [pair],
                targets=item.get("label"),
                # the strongest links are cut from whole matrices, which tree and heads need too
                config=replace(self.config, keep=0),
            )
            tree = build_tree(found.layer_links(0), tau=self.tau, rule=self.rule, root=self.root)
            return _row(item, found, tree, keep=self.config.keep)

        return work


def _row(item: Mapping[str, Any], found: Attributions, tree: Tree, *, keep: int) -> dict[str, Any]:
    example = found.examples[0]
    widest = max(site.num_heads for site in found.sites)
    head_max = np.full((len(found.sites), widest), np.nan, dtype=np.float32)
    for site in range(len(found.sites)):
        largest = found.site_scores(0, site).max(axis=(1, 2))
        head_max[site, : len(largest)] = largest
    row: dict[str, Any] = {
        "name": str(item.get("name", "")),
        "text": item["text"],
        "pair": str(item.get("pair") or ""),
        "label": "" if item.get("label") is None else str(item["label"]),
        "target": example.target,
        "predicted": example.predicted,
        "prob": example.prob,
        "gap": float(example.gap.max()),
        "tokens": list(tree.tokens),
        "root": tree.root,
        "readers": np.array([link.reader for link in tree.links], dtype=np.int64),
        "reads": np.array([link.read for link in tree.links], dtype=np.int64),
        "layers": np.array([link.layer for link in tree.links], dtype=np.int64),
        "link_scores": np.array([link.score for link in tree.links], dtype=np.float64),
        "kept": tree.kept,
        "head_max": head_max,
    }
    if keep:
        links = strongest_links(example.scores, example.weights, keep=keep)
        for name in ("site", "head", "query", "key", "score"):
            row[f"link_{name}"] = getattr(links, name)
    return row
