"""Attribute a prediction to the attention of every layer and head."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.core.card import Stopwatch, make_card
from vesalius.methods.attention_attribution.config import AttributeConfig, chosen_config
from vesalius.methods.attention_attribution.inputs import (
    Inputs,
    encode_inputs,
    read_words,
    site_masks,
)
from vesalius.methods.attention_attribution.linking import strongest_links
from vesalius.methods.attention_attribution.result import Attributions, Example, Site
from vesalius.methods.attention_attribution.scores import Scored, scored_batches
from vesalius.methods.attention_attribution.targets import Target, ask, target_names
from vesalius.models.attention_sites import AttentionSite, attention_sites
from vesalius.models.objectives import probabilities
from vesalius.models.specimen import Specimen


def attribute(
    specimen: Specimen,
    texts: Inputs,
    *,
    pairs: Sequence[str] | None = None,
    targets: Target | Sequence[Target] | None = None,
    foils: Target | Sequence[Target] | None = None,
    config: AttributeConfig | None = None,
    preset: str | None = None,
) -> Attributions:
    """Attribute each text's prediction to every link of every head.

    Args:
        specimen: the opened model.
        texts: texts for a classifier, prompts for a language model, or a ready batch (images).
        pairs: the second texts, for a classifier of pairs.
        targets: class names or indices, or words; one for all or one for each text. The predicted
            class or word where left out.
        foils: what the target ``logit-difference`` tells it apart from; the best other one.
        config: target, baseline, quadrature and storage.
        preset: instead of ``config``, the name of one; see :func:`attribute_preset`.

    Returns:
        Attributions and probabilities [head, query, key] of every site, with completeness gaps.

    Raises:
        VesaliusError: texts or targets that do not fit the model, or attention out of reach.

    Source: arXiv 2004.11207, section 3.
    """
    config = chosen_config(config, preset)
    stopwatch = Stopwatch.start()
    batch = encode_inputs(specimen, texts, pairs=pairs, pad_to=config.pad_to)
    asked = ask(specimen, batch.num_prompts, targets=targets, foils=foils, kind=config.target)
    sites = attention_sites(specimen)
    found: dict[int, Example] = {}
    num_open = np.zeros(len(sites), dtype=np.int64)
    for scored in scored_batches(specimen, batch, asked, config):
        num_open += (~scored.whole).sum(1).cpu().numpy()
        found |= _examples(specimen, scored, sites, config)
    return Attributions(
        card=make_card(
            "attention attribute",
            stopwatch=stopwatch,
            config=config,
            model=specimen.name,
            model_fingerprint=specimen.fingerprint,
            warnings=score_warnings(
                specimen, config, num_open=num_open, num_texts=batch.num_prompts
            ),
        ),
        sites=site_names(sites),
        examples=tuple(found[i] for i in range(batch.num_prompts)),
    )


def site_names(sites: Sequence[AttentionSite]) -> tuple[Site, ...]:
    """Name the sites of a model for a result; no shapes.

    Source: this project.
    """
    return tuple(
        Site(name=s.name, layer=s.layer, num_heads=s.num_heads, kind=s.kind, stack=s.stack)
        for s in sites
    )


def score_warnings(
    specimen: Specimen,
    config: AttributeConfig,
    *,
    num_open: Int[np.ndarray, " site"],
    num_texts: int,
) -> tuple[str, ...]:
    """Say what makes scores approximate; ``num_open`` [site] counts texts that miss too much.

    Source: completeness, arXiv 1703.01365; half precision: docs/decisions.md.
    """
    warnings: list[str] = []
    if num_open.any():
        most = len(config.rules()[-1].nodes)
        where = ", ".join(
            f"{site.name} ({int(count)} of {num_texts})"
            for site, count in zip(attention_sites(specimen), num_open, strict=True)
            if count
        )
        advice = (
            "; from no attention at all a line can be too rough to integrate: try the baseline "
            "uniform, which stays among attention distributions"
            if config.baseline == "zero"
            else ""
        )
        warnings.append(
            f"with up to {most} nodes the attributions miss more than {config.tolerance:g} of "
            f"F(1) - F(0), and are approximate, in {where}{advice}"
        )
    if specimen.dtype in (torch.bfloat16, torch.float16):
        warnings.append(
            f"computed in {str(specimen.dtype).removeprefix('torch.')}: scores carry errors of "
            "some percent and completeness cannot be judged; open the model with dtype float32"
        )
    return tuple(warnings)


def _examples(
    specimen: Specimen, scored: Scored, sites: Sequence[AttentionSite], config: AttributeConfig
) -> dict[int, Example]:
    """Cut a batch into its texts, padding left out."""
    probs = probabilities(scored.found.logits)
    best = probs.argmax(1)
    names = target_names(specimen, scored.targets.tolist())
    predicted = target_names(specimen, best.tolist())
    foils = [""] * len(names)
    if scored.foils is not None:
        foils = list(target_names(specimen, scored.foils.tolist()))
    made: dict[int, Example] = {}
    for place, text in enumerate(scored.texts.tolist()):
        scores = _cut(specimen, scored, sites, scored.found.attribution, place)
        weights = _cut(specimen, scored, sites, scored.found.signal, place)
        text_words, decoder_words = read_words(specimen, scored.batch, place)
        target = int(scored.targets[place])
        made[text] = Example(
            text=text_words,
            decoder_text=decoder_words,
            reader=_reader(scores[-1]),
            target=names[place],
            target_index=target,
            predicted=predicted[place],
            foil=foils[place],
            prob=float(probs[place, target]),
            end_value=float(scored.found.end_value[place]),
            start_value=_array(scored.found.start_value[:, place]),
            gap=_array(scored.found.gap[:, place]),
            num_nodes=scored.found.num_nodes[:, place].cpu().numpy(),
            scores=() if config.keep else scores,
            weights=() if config.keep else weights,
            links=strongest_links(scores, weights, keep=config.keep) if config.keep else None,
        )
    return made


def _cut(
    specimen: Specimen,
    scored: Scored,
    sites: Sequence[AttentionSite],
    matrices: Sequence[Tensor],
    place: int,
) -> tuple[Float[np.ndarray, "head query key"], ...]:
    """One text's matrices of all sites, rows and columns of padding left out."""
    found: list[np.ndarray] = []
    for site, matrix in zip(sites, matrices, strict=True):
        queries, keys = (
            mask[place] for mask in site_masks(specimen, scored.batch, site, matrix.shape)
        )
        one = matrix[place]
        if not (queries.all() and keys.all()):  # else no copy: these are the largest things here
            one = one[:, queries][:, :, keys]
        found.append(_array(one))
    return tuple(found)


def _reader(top: Float[np.ndarray, "head query key"]) -> int | None:
    """The only row of the top layer that the prediction depends on, if it is one."""
    rows = np.flatnonzero(np.abs(top).sum(axis=(0, 2)))
    return int(rows[0]) if len(rows) == 1 else None


def _array(values: Tensor) -> Float[np.ndarray, "..."]:
    return values.to(torch.promote_types(values.dtype, torch.float32)).cpu().numpy()
