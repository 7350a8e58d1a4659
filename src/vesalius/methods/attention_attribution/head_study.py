"""The paper's study of each text's own order of heads: some of every layer go, accuracy is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.result import AbstractResult, register_result
from vesalius.methods.attention_attribution.config import AttributeConfig, chosen_config
from vesalius.methods.attention_attribution.head_measures import pooled_heads, token_marks
from vesalius.methods.attention_attribution.inputs import Inputs, encode_inputs
from vesalius.methods.attention_attribution.scores import Scored, scored_batches
from vesalius.methods.attention_attribution.targets import Target, ask
from vesalius.models.attention_replay import replay_heads
from vesalius.models.attention_sites import AttentionSite, attention_sites
from vesalius.models.specimen import Specimen
from vesalius.numerics.statistics import Interval, bootstrap_interval
from vesalius.parallel.memory import parse_bytes

STUDY_ORDERS: Final = (
    "attribution, least first",
    "attribution, most first",
    "attention, least first",
    "attention, most first",
)


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class HeadStudy(AbstractResult):
    """Accuracy while each text loses heads of every layer in its own order.

    ``right`` [order, removed, text] says which texts are right with 0, 1, ... heads of each layer
    removed, in the orders of ``STUDY_ORDERS``. The order by attribution knows the right class.
    """

    kind: ClassVar[str] = "attention_attribution.head_study"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("attention_attribution",)

    right: Bool[np.ndarray, "order removed text"]

    def accuracy(self, order: str, removed: int) -> Interval:
        """Give the accuracy with so many heads of each layer removed, with its interval."""
        right = self.right[STUDY_ORDERS.index(order), removed]
        return bootstrap_interval(
            right.astype(float), generator=np.random.default_rng(self.card.seed or 0)
        )

    def to_table(self) -> pa.Table:
        """One row per order and number of heads removed from every layer.

        Source: figure 2 of arXiv 2004.11207.
        """
        rows: list[dict[str, Any]] = []
        for order in STUDY_ORDERS:
            for removed in range(self.right.shape[1]):
                found = self.accuracy(order, removed)
                rows.append(
                    {
                        "order": order,
                        "heads_removed": removed,
                        "accuracy": found.estimate,
                        "low": found.low,
                        "high": found.high,
                    }
                )
        return pa.Table.from_pylist(rows)

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw the four curves; returns matplotlib Axes.

        Source: figure 2 of arXiv 2004.11207.
        """
        from vesalius.methods.attention_attribution.plot import plot_head_study

        return plot_head_study(self, ax=ax)


def head_study(
    specimen: Specimen,
    texts: Inputs,
    *,
    labels: Target | Sequence[Target],
    pairs: Sequence[str] | None = None,
    config: AttributeConfig | None = None,
    seed: int = 0,
) -> HeadStudy:
    """Remove heads of every layer in each text's own order, and take the accuracy.

    Heads are ordered by their largest attribution to the right class, and by their largest
    attention probability. (The mean of a row of attention is the same for every head.)

    Args:
        specimen: the opened model; nothing of it changes.
        texts: as in :func:`attribute`.
        labels: the right classes.
        pairs: the second texts.
        config: as in :func:`attribute`; without refinement where left out.
        seed: of the intervals.

    Raises:
        VesaliusError: texts or labels that do not fit the model.

    Source: arXiv 2004.11207, section 4.2 and figure 2.
    """
    config = AttributeConfig(refine=False) if config is None else chosen_config(config, None)
    stopwatch = Stopwatch.start()
    batch = encode_inputs(specimen, texts, pairs=pairs, pad_to=config.pad_to)
    asked = ask(specimen, batch.num_prompts, targets=labels, foils=None, kind=config.target)
    sites = attention_sites(specimen)
    widest = max(site.num_heads for site in sites)
    right = np.zeros((len(STUDY_ORDERS), widest + 1, batch.num_prompts), dtype=bool)
    for scored in scored_batches(specimen, batch, asked, config):
        gates = torch.cat([_gates(values) for values in _orders(specimen, scored, sites, widest)])
        logits = replay_heads(
            specimen, scored.batch, gates, memory_bytes=parse_bytes(config.memory)
        )
        found = (logits.argmax(-1) == scored.targets).cpu().numpy()
        right[:, :, scored.texts.cpu().numpy()] = found.reshape(*right.shape[:2], -1)
    return HeadStudy(
        card=make_card(
            "attention head study",
            stopwatch=stopwatch,
            config=config,
            model=specimen.name,
            model_fingerprint=specimen.fingerprint,
            seed=seed,
        ),
        right=right,
    )


def _orders(
    specimen: Specimen, scored: Scored, sites: Sequence[AttentionSite], widest: int
) -> list[Float[torch.Tensor, "text site head"]]:
    """What heads go by, smallest first, in the orders of STUDY_ORDERS."""
    by_kind: list[torch.Tensor] = []
    for matrices in (scored.found.attribution, scored.found.signal):
        # heads that a site does not have come last in both directions: they are NaN
        pooled = torch.full((len(scored.texts), len(sites), widest), torch.nan)
        for site, matrix in zip(sites, matrices, strict=True):
            queries, keys, _, _ = token_marks(specimen, scored.batch, site, matrix.shape)
            largest = pooled_heads(matrix.float(), queries=queries, keys=keys)[0]
            pooled[:, site.index, : site.num_heads] = largest.cpu()
        by_kind += [pooled, -pooled]
    return by_kind


def _gates(
    values: Float[torch.Tensor, "text site head"],
) -> Float[torch.Tensor, "removed text site head"]:
    """Gates that shut 0, 1, ... heads of every site, those with the smallest values first."""
    rank = values.argsort(dim=2, stable=True).argsort(dim=2)
    steps = torch.arange(values.shape[2] + 1).view(-1, 1, 1, 1)
    return (rank.unsqueeze(0) >= steps).float()
