"""`vesalius neurons judge`: does a saved edit hold, and what else did it change?

Source: arXiv 2104.08696, section 5.
"""

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.judge_flags import JudgeFlags
from vesalius.cli.neuron_corpus import check_outputs, write_outputs
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.bags import MASK, FactBag, bundled_bags, gap_last
from vesalius.data.edit_cases import edit_case
from vesalius.data.facts import Fact, load_facts, load_relations, prompts_for

if TYPE_CHECKING:
    from vesalius.methods.knowledge_neurons.edits import Edit
    from vesalius.methods.knowledge_neurons.verdict import Verdict
    from vesalius.models.specimen import Specimen


def run_judge(flags: JudgeFlags) -> None:
    """Judge a saved edit; print, save and draw the verdict.

    Raises:
        WrongUsage: flags that the edit does not take.
        VesaliusError: no edit in the folder, another model, a faulty case, or files that exist.
    """
    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    _check_counts(flags)
    from vesalius.methods.knowledge_neurons.edits import Edit

    edit = Edit.load(flags.edit)
    erasing = edit.method == "erase"
    _check_fits(flags, erasing=erasing)
    case = None if erasing else _case(edit, flags)
    specimen = open_model(flags.model or edit.card.model, flags)
    with working("judging the edit"):
        if case is None:
            verdict = _erasure(specimen, edit, flags)
        else:
            verdict = _judged(specimen, edit, case, flags)
    write_outputs(verdict, flags.out, flags.html, flags.plot, force=flags.force)
    if flags.json:
        emit_json({"verdict": _as_json(verdict), "saved": flags.out})
    else:
        _show(verdict)


def _check_counts(flags: JudgeFlags) -> None:
    for name in ("facts", "controls"):
        if getattr(flags, name) < 0:
            wrong_usage(given=f"--{name} {getattr(flags, name)}", expected="0 or more", fix="use 5")


def _check_fits(flags: JudgeFlags, *, erasing: bool) -> None:
    if erasing and flags.case is not None:
        wrong_usage(
            given="--case with an erasure",
            expected="the erased relation, whose facts are all asked",
            fix="name it with --relation, such as --relation P36",
        )
    if not erasing and flags.relation:
        wrong_usage(
            given="--relation with an edit of one fact",
            expected="a case, or the bundled fact that the edit asks about",
            fix="leave it out; --relation names what an erasure erased",
        )


def _case(edit: "Edit", flags: JudgeFlags) -> FactBag:
    """The case of an update: from the file, or of the bundled fact with the edit's prompts."""
    if flags.case is not None:
        from vesalius.data.bag_files import read_bags

        bags = read_bags(flags.case, tell=say)
        if len(bags) == 1:
            return bags[0]
        fitting = [bag for bag in bags if _is_case(bag, edit)]
        if len(fitting) != 1:
            _refuse(len(fitting), f"{len(bags)} facts of {flags.case}")
        return fitting[0]
    facts = [fact for fact in load_facts() if _is_fact(fact, edit)]
    if len(facts) != 1:
        _refuse(len(facts), "the bundled facts")
    (fact,) = facts
    to_right = all(prompt.rstrip(" .!?").endswith(MASK) for prompt in edit.prompts)
    case = edit_case(fact, edit.new_answer, seed=flags.seed, left_to_right=to_right)
    # held out is what this very edit did not use
    others = [p for p in prompts_for(fact, mask_token=MASK) if p not in edit.prompts]
    return replace(case, prompts=edit.prompts, rephrased=tuple(others))


def _is_case(bag: FactBag, edit: "Edit") -> bool:
    asked = set(bag.prompts) & set(edit.prompts)
    return bool(asked) and bag.answer == edit.answer and bag.new_answer in ("", edit.new_answer)


def _is_fact(fact: Fact, edit: "Edit") -> bool:
    if fact.answer != edit.answer:
        return False
    return bool(set(prompts_for(fact, mask_token=MASK)) & set(edit.prompts))


def _refuse(count: int, where: str) -> NoReturn:
    raise VesaliusError(
        given=f"{count} facts with the prompts and the answer of the edit, in {where}",
        expected="exactly one",
        fix="name a file with that one fact: --case FILE.jsonl",
    )


def _judged(specimen: "Specimen", edit: "Edit", case: FactBag, flags: JudgeFlags) -> "Verdict":
    from vesalius.methods.knowledge_neurons.controls import control_edits
    from vesalius.methods.knowledge_neurons.judge import judge
    from vesalius.methods.knowledge_neurons.judge_many import perplexity_facts

    bags = bundled_bags() if case.relation in load_relations() else []
    if specimen.task == "causal-lm":
        bags = [kept for bag in bags if (kept := gap_last(bag)) is not None]
    same, others = perplexity_facts(case, bags, num_facts=flags.facts, seed=flags.seed)
    return judge(
        specimen,
        edit,
        case,
        same_relation=same,
        other_relations=others,
        controls=control_edits(specimen, edit, num_controls=flags.controls, seed=flags.seed),
    )


def _erasure(specimen: "Specimen", edit: "Edit", flags: JudgeFlags) -> "Verdict":
    """Ask all bundled facts of the erased relation, and as many of the others."""
    from vesalius.methods.knowledge_neurons.controls import control_edits
    from vesalius.methods.knowledge_neurons.judge import judge_erasure

    relation = flags.relation or str(edit.card.config.get("relation", ""))
    if not relation:
        wrong_usage(
            given="an erasure that does not name its relation",
            expected="the erased relation",
            fix="add --relation, such as --relation P36",
        )
    bags = bundled_bags(relation)
    rest = [bag for bag in bundled_bags() if bag.relation != relation]
    if specimen.task == "causal-lm":
        bags = [kept for bag in bags if (kept := gap_last(bag)) is not None]
        rest = [kept for bag in rest if (kept := gap_last(bag)) is not None]
    others = Random(derive_seed(flags.seed, "others")).sample(rest, min(len(bags), len(rest)))
    return judge_erasure(
        specimen,
        edit,
        bags,
        others,
        controls=control_edits(specimen, edit, num_controls=flags.controls, seed=flags.seed),
    )


def _as_json(verdict: "Verdict") -> dict[str, Any]:
    return {
        "model": verdict.card.model,
        "model_fingerprint": verdict.card.model_fingerprint,
        **{
            name: getattr(verdict, name)
            for name in ("method", "relation", "subject", "answer", "new_answer", "sentence")
        },
        "measures": verdict.to_table().to_pylist(),
        "prompts": verdict.probes.to_pylist(),
        "controls": verdict.num_controls,
        "warnings": list(verdict.card.warnings),
    }


def _show(verdict: "Verdict") -> None:
    from vesalius.methods.knowledge_neurons.verdict_report import COLUMNS, measure_cells

    emit(f"{verdict.title()}   ({verdict.method}, {verdict.card.model})")
    emit_table(COLUMNS, [measure_cells(each) for each in verdict.measures])
    emit("")
    emit(verdict.sentence)
    for warning in verdict.card.warnings:
        say(f"vesalius: warning: {warning}")
