"""Judge many edits, each alone on the untouched model: here, or in a resumable sweep.

Source: section 5.1 of arXiv 2104.08696 (10 facts of each relation, edited and undone).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Final, Literal, final

from torch import Tensor

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.bag_files import bag_of
from vesalius.data.bags import FactBag
from vesalius.methods.knowledge_neurons.config import LocateConfig
from vesalius.methods.knowledge_neurons.controls import control_edits
from vesalius.methods.knowledge_neurons.edits import Edit
from vesalius.methods.knowledge_neurons.judge import JudgeConfig, judge
from vesalius.methods.knowledge_neurons.locate import locate
from vesalius.methods.knowledge_neurons.pool import pool_verdicts
from vesalius.methods.knowledge_neurons.rank_one import rank_one, reference_texts
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.methods.knowledge_neurons.update import update
from vesalius.methods.knowledge_neurons.verdict import Verdicts
from vesalius.models.activity import second_moments
from vesalius.models.opening import open_same
from vesalius.models.specimen import Specimen
from vesalius.parallel.task import AbstractTask, Worker

_MOMENT_BYTES: Final = 1 << 30  # BERT-base needs 0.9 GiB for its 12 layers


def judge_many(
    specimen: Specimen,
    edits: Sequence[Edit],
    cases: Sequence[FactBag],
    *,
    bags: Sequence[FactBag] = (),
    num_facts: int = 5,
    num_controls: int = 0,
    config: JudgeConfig | None = None,
    seed: int = 0,
) -> Verdicts:
    """Judge edits one by one on the untouched model, and average over them.

    Args:
        specimen: the model that the edits were planned for; it comes back bit for bit.
        edits: updates or rank-one edits.
        cases: one for each edit.
        bags: facts to draw those from whose perplexity is taken; without them the probes serve.
        num_facts: how many of the relation, and of other relations (paper: 5).
        num_controls: random neurons beside each edit.
        config: neutral sentences and lengths.
        seed: of the drawn facts, the random neurons and the bootstrap.

    Returns:
        Means over the cases with 95 % intervals; no arrays.

    Raises:
        VesaliusError: another number of cases than of edits, none, or what ``judge`` refuses.
    """
    stopwatch = Stopwatch.start()
    if len(edits) != len(cases) or not edits:
        raise VesaliusError(
            given=f"{len(edits)} edits and {len(cases)} cases",
            expected="one case for each edit, and at least one",
            fix="pass the case that each edit was made for, in the same order",
        )
    rows: list[dict[str, Any]] = []
    for edit, case in zip(edits, cases, strict=True):
        same, others = perplexity_facts(case, bags, num_facts=num_facts, seed=seed)
        controls = control_edits(specimen, edit, num_controls=num_controls, seed=seed)
        verdict = judge(
            specimen, edit, case, same_relation=same, other_relations=others,
            controls=controls, config=config,
        )  # fmt: skip
        rows.append(verdict.row())
    card = make_card(
        "neurons judge many",
        stopwatch=stopwatch,
        config={
            "num_facts": num_facts,
            "num_controls": num_controls,
            "first_edit": edits[0].card.config,
        },
        model=specimen.name,
        model_fingerprint=edits[0].card.model_fingerprint,
        seed=seed,
    )
    return pool_verdicts(rows, card=card, seed=seed)


def perplexity_facts(
    case: FactBag, bags: Sequence[FactBag], *, num_facts: int = 5, seed: int = 0
) -> tuple[list[FactBag], list[FactBag]]:
    """Draw other facts of a case's relation, and facts of other relations.

    Returns:
        At most ``num_facts`` of each; the same for a case whatever its place in a list. No shapes.

    Source: arXiv 2104.08696, section 5.1 (5 facts).
    """
    draw = Random(derive_seed(seed, "perplexity", case.relation, case.subject))
    same = [b for b in bags if b.relation == case.relation and b.subject != case.subject]
    others = [b for b in bags if b.relation != case.relation]
    drawn = draw.sample(same, min(num_facts, len(same)))
    return drawn, draw.sample(others, min(num_facts, len(others)))


def judge_item(
    case: FactBag,
    *,
    neurons: Sequence[Neuron] = (),
    relation_sets: Sequence[Sequence[Neuron]] = (),
    same_relation: Sequence[FactBag] = (),
    other_relations: Sequence[FactBag] = (),
) -> dict[str, Any]:
    """Make the item of a :class:`JudgeTask` from a case; no shapes.

    Args:
        case: with its new answer.
        neurons: the fact's, for an update; located by the worker where left out.
        relation_sets: the sets of all facts of the relation, for an update.
        same_relation, other_relations: facts whose perplexity is taken.
    """
    return {
        "name": case.name,
        "case": asdict(case),
        "neurons": list(map(list, neurons)),
        "relation_sets": [list(map(list, each)) for each in relation_sets],
        "same_relation": [asdict(bag) for bag in same_relation],
        "other_relations": [asdict(bag) for bag in other_relations],
    }


@final
@dataclass(frozen=True, kw_only=True)
class JudgeTask(AbstractTask):
    """Edit a fact, judge the edit, undo it: one row per fact, as ``Verdict.row()`` lays it out.

    Items come from :func:`judge_item`. ``method`` is "update" or "rank-one"; ``layer`` is that of
    ``rank_one`` (None tries all), the options above it are those of ``update``. Rows also tell
    ``neurons`` and ``dropped`` as "layer:index", the ``layers`` and the ``size`` of the edit;
    :func:`pool_verdicts` averages them.

    Source: arXiv 2104.08696, section 5.1.
    """

    model: str
    fingerprint: str
    revision: str = "main"
    device: str = "cpu"
    dtype: str = "float32"
    method: Literal["update", "rank-one"] = "update"
    weight_old: float = 1.0
    weight_new: float = 8.0
    by_sign: bool = True
    max_shared: float = 0.1
    layer: int | None = None
    num_controls: int = 1
    config: JudgeConfig = field(default_factory=JudgeConfig)
    locate: LocateConfig = field(default_factory=LocateConfig)

    def open(self) -> Worker:
        """Open the model, and insist that it is the one the sweep was started with.

        Raises:
            VesaliusError: it cannot be opened, or has other weights, or the method is unknown.
        """
        if self.method not in ("update", "rank-one"):
            raise VesaliusError(
                given=f"method={self.method!r}",
                expected="update or rank-one",
                fix="judge an erasure with judge_erasure",
            )
        specimen = open_same(
            self.model,
            fingerprint=self.fingerprint,
            revision=self.revision,
            device=self.device,
            dtype=self.dtype,
        )

        moments = self._moments(specimen) if self.method == "rank-one" else {}

        def work(item: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
            case = bag_of(item["case"])
            edit = self._plan(specimen, case, item, moments)
            verdict = judge(
                specimen,
                edit,
                case,
                same_relation=[bag_of(bag) for bag in item.get("same_relation", ())],
                other_relations=[bag_of(bag) for bag in item.get("other_relations", ())],
                controls=control_edits(specimen, edit, num_controls=self.num_controls, seed=seed),
                config=self.config,
            )
            slots = edit.slots if edit.method == "update" else ()
            return verdict.row() | {
                "layers": sorted(set(edit.layers.tolist())),
                "neurons": [f"{layer}:{neuron}" for layer, neuron in slots],
                "dropped": [f"{layer}:{neuron}" for layer, neuron in edit.dropped],
                "size": edit.size,
            }

        return work

    def _moments(self, specimen: Specimen) -> dict[int, Tensor]:
        """What ``rank_one`` would compute anew for every fact, where it fits into memory."""
        layers = range(specimen.num_layers) if self.layer is None else (self.layer,)
        widths = [specimen.plan.calls[layer].feed_forward.num_inputs for layer in layers]
        if 8 * sum(width**2 for width in widths) > _MOMENT_BYTES:
            return {}
        texts = reference_texts(masks=specimen.task == "masked-lm")
        return second_moments(specimen, texts, layers=layers)

    def _plan(
        self,
        specimen: Specimen,
        case: FactBag,
        item: Mapping[str, Any],
        moments: Mapping[int, Tensor],
    ) -> Edit:
        asked = (specimen, case.prompts, case.answer, case.new_answer)
        if self.method == "rank-one":
            return rank_one(*asked, subject=case.subject, layer=self.layer, moments=moments or None)
        neurons = [(layer, index) for layer, index in item.get("neurons", ())]
        if not neurons:
            located = locate(specimen, case.prompts, case.answer, config=self.locate)
            neurons = list(located.neurons)
        return update(
            *asked,
            neurons,
            relation_sets=[
                [(layer, index) for layer, index in each] for each in item.get("relation_sets", ())
            ],
            max_shared=self.max_shared,
            weight_old=self.weight_old,
            weight_new=self.weight_new,
            by_sign=self.by_sign,
        )
