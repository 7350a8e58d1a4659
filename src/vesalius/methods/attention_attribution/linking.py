"""From the matrices of heads to links between tokens: summed, joined to words, as a table."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from vesalius.methods.attention_attribution.layer_links import LayerLinks

if TYPE_CHECKING:
    from vesalius.methods.attention_attribution.result import Attributions, Example, Links


def layer_links(found: "Attributions", example: int, *, words: bool) -> LayerLinks:
    """Sum one text's matrices over heads into [layer, query, key] over all of its tokens.

    Source: arXiv 2004.11207, section 4.4 (a^l, heads summed).
    """
    one = found.examples[example]
    source = len(one.text.tokens)
    written = 0 if one.decoder_text is None else len(one.decoder_text.tokens)
    num_layers = 1 + max(site.layer for site in found.sites)
    scores = np.zeros((num_layers, source + written, source + written), dtype=np.float64)
    weights = np.zeros_like(scores)
    for index, site in enumerate(found.sites):
        first_query = source if site.stack == "decoder" else 0
        first_key = source if site.stack == "decoder" and site.kind == "self" else 0
        score = found.site_scores(example, index)
        place = (
            site.layer,
            slice(first_query, first_query + score.shape[1]),
            slice(first_key, first_key + score.shape[2]),
        )
        scores[place] += score.sum(axis=0, dtype=np.float64)
        weights[place] += found.site_weights(example, index).mean(axis=0, dtype=np.float64)
    reader = one.reader
    if reader is not None and one.decoder_text is not None:
        reader += source
    links = LayerLinks(
        tokens=_tokens(one, words=False),
        special=_special(one),
        reader=reader,
        scores=scores,
        weights=weights,
    )
    return join_pieces(links, words=_tokens(one, words=True), word=_word(one)) if words else links


def join_pieces(
    links: LayerLinks, *, words: tuple[str, ...], word: Int[np.ndarray, " position"]
) -> LayerLinks:
    """Join the tokens of each word: attributions add up, so the sum stays complete.

    ``word`` [position] is the number of each token's word among ``words``.

    Source: the linearity of integrated gradients, arXiv 1703.01365.
    """
    joined = np.zeros((len(words), links.num_tokens))
    joined[word, np.arange(links.num_tokens)] = 1
    share = joined / joined.sum(axis=1, keepdims=True)
    return LayerLinks(
        tokens=words,
        special=np.array([bool(links.special[word == i].all()) for i in range(len(words))]),
        reader=None if links.reader is None else int(word[links.reader]),
        scores=joined @ links.scores @ joined.T,
        weights=share @ links.weights @ joined.T,
    )


def strongest_links(
    scores: tuple[Float[np.ndarray, "_ _ _"], ...],
    weights: tuple[Float[np.ndarray, "_ _ _"], ...],
    *,
    keep: int,
) -> "Links":
    """Keep the links of every head with the largest attributions by size, at most ``keep`` each.

    ``scores`` and ``weights`` have a matrix [head, query, key] for each site, of its own size.

    Source: sparse storage, point 13 of the engine notes.
    """
    from vesalius.methods.attention_attribution.result import Links

    columns: dict[str, list[Any]] = {
        name: [] for name in ("site", "head", "query", "key", "score", "weight")
    }
    for site, (score, weight) in enumerate(zip(scores, weights, strict=True)):
        heads, queries, keys = score.shape
        flat = score.reshape(heads, -1)
        count = min(keep, flat.shape[1])
        # a stable order: equal sizes keep their place in the matrix
        chosen = np.sort(np.argsort(-np.abs(flat), axis=1, kind="stable")[:, :count], axis=1)
        columns["site"].append(np.full(heads * count, site))
        columns["head"].append(np.repeat(np.arange(heads), count))
        columns["query"].append((chosen // keys).ravel())
        columns["key"].append((chosen % keys).ravel())
        columns["score"].append(np.take_along_axis(flat, chosen, axis=1).ravel())
        columns["weight"].append(
            np.take_along_axis(weight.reshape(heads, queries * keys), chosen, axis=1).ravel()
        )
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    places = {name: joined[name].astype(np.int32) for name in ("site", "head", "query", "key")}
    return Links(**places, score=joined["score"], weight=joined["weight"])


def link_table(found: "Attributions") -> pa.Table:
    """One row per stored link: text, site, layer, head, reader, read, attribution, probability.

    Source: this project.
    """
    tables: list[pa.Table] = []
    for number, one in enumerate(found.examples):
        links = one.links
        if links is None:
            links = strongest_links(
                one.scores, one.weights, keep=max(s[0].size for s in one.scores)
            )
        sites = [found.sites[i] for i in links.site.tolist()]
        written = one.text if one.decoder_text is None else one.decoder_text
        readers = [written if site.stack == "decoder" else one.text for site in sites]
        sources = [
            one.text if site.kind == "cross" else r for site, r in zip(sites, readers, strict=True)
        ]
        tables.append(
            pa.table(
                {
                    "text": [number] * len(sites),
                    "site": [site.name for site in sites],
                    "layer": [site.layer for site in sites],
                    "head": links.head,
                    "query": links.query,
                    "key": links.key,
                    "reader": [
                        t.tokens[i] for t, i in zip(readers, links.query.tolist(), strict=True)
                    ],
                    "read": [t.tokens[i] for t, i in zip(sources, links.key.tolist(), strict=True)],
                    "attribution": links.score,
                    "attention": links.weight,
                }
            )
        )
    return pa.concat_tables(tables)


def _tokens(one: "Example", *, words: bool) -> tuple[str, ...]:
    texts = [one.text] if one.decoder_text is None else [one.text, one.decoder_text]
    return tuple(token for text in texts for token in (text.words if words else text.tokens))


def _special(one: "Example") -> Any:
    texts = [one.text] if one.decoder_text is None else [one.text, one.decoder_text]
    return np.array([mark for text in texts for mark in text.special], dtype=bool)


def _word(one: "Example") -> Int[np.ndarray, " position"]:
    decoder = () if one.decoder_text is None else one.decoder_text.word
    return np.array([*one.text.word, *(len(one.text.words) + i for i in decoder)])
