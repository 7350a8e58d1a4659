"""`vesalius neurons erase`: empty the value slots that most facts of a relation share.

Source: arXiv 2104.08696, section 5.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean
from typing import TYPE_CHECKING, final

from vesalius.cli.edit_flags import EraseFlags
from vesalius.cli.errors import say
from vesalius.cli.neuron_edits import (
    check_folders,
    edit_dict,
    emit_written,
    insist_on_the_model,
    write_edit,
)
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.core.errors import VesaliusError
from vesalius.data.bags import FactBag, bundled_bags, gap_last
from vesalius.data.facts import load_relations

if TYPE_CHECKING:
    from vesalius.methods.knowledge_neurons.edits import Edit
    from vesalius.methods.knowledge_neurons.located import LocatedFact
    from vesalius.methods.knowledge_neurons.refine import Neuron
    from vesalius.models.specimen import Specimen


@final
@dataclass(frozen=True, kw_only=True)
class Known:
    """A bundled fact, and how the model answers its prompts, [prompt] each."""

    bag: FactBag
    probs: tuple[float, ...]
    first: tuple[bool, ...]

    @property
    def answered(self) -> float:
        """The share of the prompts whose best answer is the right one."""
        return sum(self.first) / len(self.first)


def run_erase(flags: EraseFlags) -> None:
    """Plan the erasure of a relation; print what it does, save it, write the edited model.

    Raises:
        VesaliusError: an unknown relation, no fact that the model answers, another model, or
            folders that exist.
    """
    check_folders(flags)
    if flags.sweep is None:
        bundled_bags(flags.relation)  # an unknown relation: the list of known ones is in its error
    from vesalius.methods.knowledge_neurons.erase import erase
    from vesalius.methods.knowledge_neurons.located import CorpusConfig

    config = CorpusConfig(min_answered=flags.min_answered, share=flags.share)
    specimen = open_model(flags.model, flags)
    bags = _bags(specimen, flags.relation)
    if flags.dry_run:
        _show_forecast(bags, flags)
        return
    with working("asking the facts"):
        known = _asked(specimen, bags)
    sets = _sets(specimen, known, flags, config)
    edit = erase(specimen, sets, num_neurons=flags.count, relation=flags.relation)
    from vesalius.methods.knowledge_neurons.edits import edited

    answered = [each for each in known if each.answered >= flags.min_answered]
    with working("asking again"), edited(specimen, edit):
        after = _asked(specimen, [each.bag for each in answered])
    write_edit(specimen, edit, flags)
    _show(edit, answered, after, flags, num_asked=len(known))


def _bags(specimen: "Specimen", relation: str) -> list[FactBag]:
    """The bundled facts of the relation, with the prompts that this model can answer."""
    if relation not in load_relations():
        return []
    bags = bundled_bags(relation)
    if specimen.task != "causal-lm":
        return bags
    return [kept for bag in bags if (kept := gap_last(bag)) is not None]


def _asked(specimen: "Specimen", bags: Sequence[FactBag]) -> list[Known]:
    """Ask every fact; answers that the vocabulary has no token for are passed over."""
    from vesalius.models.encoding import one_token
    from vesalius.models.reading import read_answers

    fitting: list[FactBag] = []
    for bag in bags:
        try:
            one_token(specimen, bag.answer)
        except VesaliusError:
            continue
        fitting.append(bag)
    if not fitting:
        return []
    asked = [(prompt, bag.answer) for bag in fitting for prompt in bag.prompts]
    found = read_answers(specimen, [p for p, _ in asked], [a for _, a in asked])
    probs, first = found.log_prob.exp().tolist(), (found.rank == 1).tolist()
    ends = accumulate(len(bag.prompts) for bag in fitting)
    return [
        Known(
            bag=bag,
            probs=tuple(probs[end - len(bag.prompts) : end]),
            first=tuple(first[end - len(bag.prompts) : end]),
        )
        for bag, end in zip(fitting, ends, strict=True)
    ]


def _sets(
    specimen: "Specimen", known: Sequence[Known], flags: EraseFlags, config: object
) -> "list[tuple[Neuron, ...]]":
    """The refined set of each fact, from the sweep or located now; the share is searched for."""
    from vesalius.methods.knowledge_neurons.located import (
        CorpusConfig,
        answered_facts,
        read_located,
        refined_sets,
    )

    assert isinstance(config, CorpusConfig)
    if flags.sweep is not None:
        located = read_located(flags.sweep)
        insist_on_the_model("--sweep", located.model_fingerprint, specimen)
        facts = answered_facts(located.facts, config=config, relation=flags.relation)
        say(f"vesalius: {len(facts)} facts of {flags.relation} in the sweep are answered")
    else:
        facts = _located(specimen, known, flags)
    return [refined.neurons for refined in refined_sets(facts, config=config)]


def _located(
    specimen: "Specimen", known: Sequence[Known], flags: EraseFlags
) -> "list[LocatedFact]":
    """Locate the facts that the model answers."""
    from vesalius.cli.stories import config_of
    from vesalius.methods.knowledge_neurons.locate import locate
    from vesalius.methods.knowledge_neurons.located import LocatedFact

    answered = [each for each in known if each.answered >= flags.min_answered]
    say(
        f"vesalius: {specimen.name} answers {len(answered)} of {len(known)} facts of "
        f"{flags.relation}, in {flags.min_answered:.0%} of their prompts or more"
    )
    if not answered:
        raise VesaliusError(
            given=f"{flags.relation}: no fact that {specimen.name} answers",
            expected="facts that it knows, whose neurons can be found",
            fix="take a model that knows the relation, or lower --min-answered",
        )
    options = config_of(flags)
    facts: list[LocatedFact] = []
    with working("locating", total=len(answered)) as step:
        for each in answered:
            coarse = locate(specimen, each.bag.prompts, each.bag.answer, config=options).coarse
            sets = tuple(frozenset(found) for found in coarse)
            facts.append(
                LocatedFact(
                    name=each.bag.name, relation=each.bag.relation, subject=each.bag.subject,
                    answer=each.bag.answer, prompts=each.bag.prompts, attribution=sets,
                    activation=sets,
                    prob=sum(each.probs) / len(each.probs), answered=each.answered,
                )
            )  # fmt: skip
            step()
    return facts


def _show(
    edit: "Edit", before: Sequence[Known], after: Sequence[Known], flags: EraseFlags, *,
    num_asked: int,
) -> None:  # fmt: skip
    """Print the erased neurons, and how the facts are answered now."""
    counts: dict[str, int] = edit.card.config["counts"]
    rows = [(*map(int, name.split(":")), count) for name, count in counts.items()]
    num_facts = edit.card.config["num_facts"]
    changes = [_measures(known) for known in (before, after)]
    if flags.json:
        facts = {"located": num_facts, "asked": num_asked, "answered": len(before)}
        told = dict(zip(("before", "after"), changes, strict=True))
        emit_json({"edit": edit_dict(edit, flags) | {"facts": facts, **told}})
    else:
        emit_table(("layer", "neuron", "facts"), rows)
        emit(f"{len(rows)} value slots are set to zero: the most frequent in {num_facts} facts")
        if before:
            told = [f"{one[name]:.4f} -> {two[name]:.4f}" for one, two in [changes] for name in one]
            emit(f"answered first: {told[0]} of the prompts of {len(before)} bundled facts")
            emit(f"probability of the answers: {told[1]}")
        else:
            emit("no bundled fact of this relation is answered: nothing was asked again")
    emit_written(edit, flags)


def _measures(known: Sequence[Known]) -> dict[str, float]:
    if not known:
        return {}
    return {
        "answered": fmean(first for each in known for first in each.first),
        "prob": fmean(prob for each in known for prob in each.probs),
    }


def _show_forecast(bags: Sequence[FactBag], flags: EraseFlags) -> None:
    row = {
        "relation": flags.relation,
        "facts_asked": len(bags),
        "prompts": sum(len(bag.prompts) for bag in bags),
        "facts_located": 0 if flags.sweep else "those that the model answers",
        "slots_at_most": flags.count,
    }
    if flags.json:
        emit_json({"forecast": [row]})
    else:
        emit_table(list(row), [list(row.values())])
