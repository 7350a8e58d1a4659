"""Does the prediction hang on the links that the tree shows? Taken out, beside others."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float

from vesalius.core.card import RunCard, Stopwatch, make_card
from vesalius.core.checks import check_count, check_share
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.methods.attention_attribution.attribute import attribute
from vesalius.methods.attention_attribution.config import AttributeConfig, chosen_config
from vesalius.methods.attention_attribution.deletion import (
    MODES,
    Deletions,
    candidate_links,
    deleted_logits,
    masks_of,
    strongest_first,
)
from vesalius.methods.attention_attribution.faithfulness_result import (
    CURVE_ORDERS,
    DELETED,
    Faithfulness,
    faithfulness_verdict,
)
from vesalius.methods.attention_attribution.inputs import Inputs, encode_inputs
from vesalius.methods.attention_attribution.layer_links import LayerLinks
from vesalius.methods.attention_attribution.randomised import shuffled_copy, similarity
from vesalius.methods.attention_attribution.result import Attributions
from vesalius.methods.attention_attribution.targets import Target
from vesalius.methods.attention_attribution.tree import (
    DEFAULT_TAU,
    RootRule,
    Tree,
    TreeRule,
    build_tree,
)
from vesalius.models.batch import Batch
from vesalius.models.objectives import probabilities
from vesalius.models.specimen import Specimen
from vesalius.parallel.memory import parse_bytes
from vesalius.plots.link_tree import Link

SHARES: Final = tuple(round(0.1 * i, 1) for i in range(11))


def faithfulness(
    specimen: Specimen,
    texts: Inputs,
    *,
    pairs: Sequence[str] | None = None,
    targets: Target | Sequence[Target] | None = None,
    tau: float = DEFAULT_TAU,
    rule: TreeRule = "score",
    root: RootRule = "word",
    shares: Sequence[float] = SHARES,
    num_random: int = 20,
    randomise: bool = True,
    config: AttributeConfig | None = None,
    seed: int = 0,
) -> Faithfulness:
    """Take the links of each text's tree out, and as many others, and see what the model says.

    Args:
        specimen: the opened model; nothing of it changes.
        texts: as in :func:`attribute`; so are ``pairs`` and ``config``.
        targets: whose probability is watched; the predicted class where left out.
        tau: of the trees; ``rule`` and ``root`` too are those of :func:`build_tree`.
        shares: of all links between different tokens, for the deletion and insertion curves.
        num_random: random sets of as many links.
        randomise: attribute also to a copy with shuffled weights, whose scores should not agree.
        seed: of random links and shuffled weights.

    Returns:
        Probabilities with links deleted or kept, text by text.

    Raises:
        VesaliusError: texts or targets that do not fit, or shares that do not rise in [0, 1].

    Source: arXiv 2004.11207, section 4.2; deletion and insertion curves: arXiv 1806.07421;
    randomised weights: arXiv 1810.03292.
    """
    # all links are counted and drawn from, so none may be missing
    config = replace(chosen_config(config, None), keep=0)
    _check(specimen, shares, num_random)
    stopwatch = Stopwatch.start()
    batch = encode_inputs(specimen, texts, pairs=pairs)
    found = attribute(specimen, batch, targets=targets, config=config)
    links = [found.layer_links(i, words=False) for i in range(batch.num_prompts)]
    trees = [build_tree(each, tau=tau, rule=rule, root=root) for each in links]
    deleted, curves = _without(
        specimen, batch, found, links, trees, shares=shares, num_random=num_random, seed=seed
    )
    prob = np.array([example.prob for example in found.examples])
    counts = np.array([len(tree.links) for tree in trees])
    used = {"tau": tau, "tree_rule": rule, "root": root, "shares": list(shares)}
    return Faithfulness(
        card=_card(specimen, found, stopwatch, {**used, "num_random": num_random}, seed),
        prob=prob,
        num_links=counts,
        deleted=deleted,
        shares=np.array(shares, dtype=np.float64),
        curves=curves,
        agreement=_agreement(specimen, batch, found, links if randomise else [], config, seed),
        verdict=faithfulness_verdict(prob, deleted, counts, seed),
    )


def _card(
    specimen: Specimen, found: Attributions, stopwatch: Stopwatch, used: dict[str, Any], seed: int
) -> RunCard:
    return make_card(
        "attention faithfulness",
        stopwatch=stopwatch,
        config={**used, **found.card.config},
        model=specimen.name,
        model_fingerprint=specimen.fingerprint,
        seed=seed,
        warnings=found.card.warnings,
    )


def _without(
    specimen: Specimen,
    batch: Batch,
    found: Attributions,
    links: Sequence[LayerLinks],
    trees: Sequence[Tree],
    *,
    shares: Sequence[float],
    num_random: int,
    seed: int,
) -> tuple[Float[np.ndarray, "text mode way"], Float[np.ndarray, "text direction order share"]]:
    """Every text's probability without its tree, and along the curves."""
    memory = parse_bytes(found.card.config["memory"])
    deleted: list[np.ndarray] = []
    curves: list[np.ndarray] = []
    for text, (own, tree) in enumerate(zip(links, trees, strict=True)):
        generator = np.random.default_rng(derive_seed(seed, "links", text))
        chosen = [_place(own, link) for link in tree.links]
        one = _Text(specimen, batch, found, text, own, memory)
        deleted.append(_tree_probs(one, np.array(chosen, dtype=int), num_random, generator))
        curves.append(_curve_probs(one, shares, generator))
    return np.stack(deleted), np.stack(curves)


def _check(specimen: Specimen, shares: Sequence[float], num_random: int) -> None:
    """Refuse numbers without meaning, and a model whose probability is always 1."""
    check_count("num_random", num_random, lowest=1, usual=20)
    for share in shares:
        check_share("shares", share, usual=0.5, zero=True)
    if len(shares) < 2 or any(a >= b for a, b in pairwise(shares)):
        raise VesaliusError(
            given=f"shares={list(shares)}",
            expected="two shares or more, each larger than the one before it",
            fix="leave them out: 0, 0.1, ... 1",
        )

    labels = getattr(specimen.model.config, "num_labels", None)
    if specimen.task in ("classifier", "image-classifier") and labels == 1:
        raise VesaliusError(
            given=f"{specimen.name}: a head with one label (regression)",
            expected="two classes or more: what is watched is the probability of one",
            fix="attribute its value with AttributeConfig(target='logit') (--target logit)",
        )


class _Text:
    """One text, and the probability of its target when links go."""

    def __init__(
        self, specimen: Specimen, batch: Batch, found: Attributions, text: int,
        links: LayerLinks, memory: int,
    ) -> None:  # fmt: skip
        self.specimen, self.links, self.memory = specimen, links, memory
        one = torch.tensor([text], device=batch.row.device)
        self.batch = batch.select(one).trimmed()
        example = found.examples[text]
        self.target = example.target_index
        self.num_source = len(example.text.tokens)

    def probs(self, chosen: Sequence[np.ndarray], uniform: Sequence[bool]) -> np.ndarray:
        """The target's probability with each set of flat places taken out, [way]."""
        deletions = Deletions(
            masks_of(chosen, self.links.scores.shape),
            uniform=np.array(uniform),
            num_source=self.num_source,
        )
        logits = deleted_logits(self.specimen, self.batch, deletions, memory_bytes=self.memory)
        return probabilities(logits)[:, self.target].cpu().numpy()


def _tree_probs(
    one: _Text, tree: np.ndarray, num_random: int, generator: np.random.Generator
) -> Float[np.ndarray, "mode way"]:
    """Without the tree's links, the strongest attention, random links (mean); [mode, way]."""
    among = candidate_links(one.links)
    places = np.flatnonzero(among)
    attention = strongest_first(one.links.weights, among)[: len(tree)]
    count = min(len(tree), len(places))
    random = [generator.choice(places, size=count, replace=False) for _ in range(num_random)]
    ways = [tree, attention, *random]
    probs = one.probs(ways * len(MODES), [mode == "uniform" for mode in MODES for _ in ways])
    by_mode = probs.reshape(len(MODES), len(ways))
    found = np.concatenate((by_mode[:, :2], by_mode[:, 2:].mean(axis=1, keepdims=True)), axis=1)
    assert found.shape[1] == len(DELETED)
    return found


def _curve_probs(
    one: _Text, shares: Sequence[float], generator: np.random.Generator
) -> Float[np.ndarray, "direction order share"]:
    """With the first links of each order taken out, then with them alone left in."""
    among = candidate_links(one.links)
    orders = {
        "attribution": strongest_first(one.links.scores, among),
        "attention": strongest_first(one.links.weights, among),
        "random": generator.permutation(np.flatnonzero(among)),
    }
    assert tuple(orders) == CURVE_ORDERS
    cuts = [round(share * int(among.sum())) for share in shares]
    out = [order[:cut] for order in orders.values() for cut in cuts]
    kept_alone = [order[cut:] for order in orders.values() for cut in cuts]
    probs = one.probs([*out, *kept_alone], [False] * (2 * len(out)))
    return probs.reshape(2, len(orders), len(shares))


def _agreement(
    specimen: Specimen,
    batch: Batch,
    found: Attributions,
    links: Sequence[LayerLinks],
    config: AttributeConfig,
    seed: int,
) -> Float[np.ndarray, " text"]:
    """Rank correlation of the scores with those of a copy with shuffled weights, if any, [text]."""
    if not links:
        return np.zeros(0)
    other = shuffled_copy(specimen, seed=seed)
    targets = [example.target_index for example in found.examples]
    shuffled = attribute(other, batch, targets=targets, config=config)
    return np.array(
        [
            similarity(links[i], shuffled.layer_links(i, words=False))
            for i in range(batch.num_prompts)
        ]
    )


def _place(links: LayerLinks, link: Link) -> int:
    place = (link.layer, link.reader, link.read)
    return int(np.ravel_multi_index(place, links.scores.shape))
