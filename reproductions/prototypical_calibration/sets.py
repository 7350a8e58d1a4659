"""The sets of the study: how long their texts may be, and how many demonstrations fit.

The bundled models read 512 tokens (and were trained on 256): of the sets with longer texts only
short rows are taken, and eight demonstrations of them do not fit.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A set, the most characters of a row (0 = any), and the numbers of demonstrations."""

    name: str
    told: str
    max_characters: int = 0
    shots: tuple[int, ...] = (0, 1, 4, 8)
    seen: bool  # whether the models were trained on prompts of this set's training rows


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many rows, draws and texts a run takes."""

    test: int = 1000
    per_class: int = 100
    seeds: int = 5
    orders: int = 12
    proportion_draws: int = 12
    restarts: int = 100
    choice: int = 300  # train rows that choose a template


SETS = (
    Chosen(name="sst2", told="SST-2", seen=True),
    Chosen(name="sst5", told="SST-5", seen=True),
    Chosen(name="mr", told="MR", seen=False),
    Chosen(name="amazon", told="Amazon", max_characters=200, shots=(0, 1, 4), seen=False),
    Chosen(name="agnews", told="AG News", max_characters=240, shots=(0, 1, 4), seen=False),
    Chosen(name="dbpedia", told="DBpedia", max_characters=240, shots=(0, 1, 4), seen=True),
    Chosen(name="rte", told="RTE", max_characters=200, shots=(0, 1, 4), seen=False),
    Chosen(name="trec", told="TREC", seen=True),
)
MODELS = ("mini-gpt", "mini-gpt-small", "mini-gpt-tiny")
METHODS = ("none", "contextual", "domain-context", "pmi", "batch", "prototypical", "affine")
SELECTED = ("agnews", "dbpedia", "trec")  # for the ablation of restart selection
SHARES = ("sst2", "amazon")  # for the proportions of the estimate set
SIZES_OF = ("sst2", "mr", "amazon", "agnews", "trec")  # for the size of the estimate set
FULL = Sizes()
QUICK = Sizes(test=40, per_class=10, seeds=2, orders=3, proportion_draws=1, restarts=5, choice=40)
