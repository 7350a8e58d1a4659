"""`vesalius neurons activations`: what neurons do where a text tells a fact, or does not.

Source: arXiv 2104.08696, section 4.5.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli.corpus_flags import ActivationsFlags
from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.neuron_corpus import check_outputs, write_outputs
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.cli.questions import MASK
from vesalius.cli.turning import neurons_of
from vesalius.core.errors import VesaliusError
from vesalius.data.facts import Fact, load_facts
from vesalius.data.mentions import MaskedText, Mention, mask_texts

if TYPE_CHECKING:
    from vesalius.methods.knowledge_neurons import Location
    from vesalius.methods.knowledge_neurons.activation_result import Activations
    from vesalius.models.specimen import Specimen

_SHOWN = 90  # characters of a text in a table


def run_activations(flags: ActivationsFlags) -> None:
    """Read neurons at the gaps of texts; print, save and draw what was found.

    Raises:
        VesaliusError: a faulty file, neurons that are not there, or files that exist.
        WrongUsage: no texts, or not exactly one source of the neurons.
    """
    known, neurons = _source(flags)
    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    texts = _texts(flags, _fact(flags, known))
    specimen = open_model(flags.model, flags)
    if known is not None:
        _insist_on_the_model(known, specimen)
    from vesalius.methods.knowledge_neurons.activations import activations

    with working("reading the neurons"):
        found = activations(
            specimen,
            texts,
            neurons,
            magnitude=flags.magnitude,
            most_tokens=flags.max_tokens,
            memory=flags.memory,
            seed=flags.seed,
        )
    write_outputs(found, flags.out, flags.html, flags.plot, force=flags.force)
    _print(found, flags)


def _source(flags: ActivationsFlags) -> tuple["Location | None", Sequence[tuple[int, int]]]:
    if bool(flags.neurons) == bool(flags.location):
        wrong_usage(
            given="--neurons and --location" if flags.neurons else "no neurons",
            expected="exactly one of --neurons and --location",
            fix="name them like --neurons 3:117,3:410, or take those of `neurons locate --out`",
        )
    if not any((flags.texts, flags.head_only, flags.random)):
        wrong_usage(
            given="no texts",
            expected="at least one of --texts, --head-only and --random",
            fix=f"write texts with {MASK} into a file, one a line, and add --texts FILE",
        )
    if flags.location is None:
        return None, neurons_of(flags.neurons)
    from vesalius.methods.knowledge_neurons import Location

    known = Location.load(flags.location)
    return known, known.neurons


def _fact(flags: ActivationsFlags, known: "Location | None") -> Fact:
    """The fact of the texts; what is not said is looked up, or stays empty."""
    answer = flags.answer or (known.answer if known is not None else "")
    if not answer and flags.relation and flags.subject:
        bundled = [
            fact.answer
            for fact in load_facts()
            if (fact.relation, fact.subject) == (flags.relation, flags.subject)
        ]
        answer = bundled[0] if len(bundled) == 1 else ""
    return Fact(relation=flags.relation, subject=flags.subject, answer=answer)


def _texts(flags: ActivationsFlags, fact: Fact) -> list[MaskedText]:
    files: dict[Mention, Path | None] = {
        "head-and-tail": flags.texts,
        "head-only": flags.head_only,
        "random": flags.random,
    }
    texts: list[MaskedText] = []
    for kind, path in files.items():
        if path is not None:
            texts += _texts_of(path, kind, fact, flags.seed)
    return texts


def _texts_of(path: Path, kind: Mention, fact: Fact, seed: int) -> list[MaskedText]:
    """Read one file: lines with [MASK] as they are, others masked for the fact."""
    lines = _lines(path)
    raw = [number for number, line in lines if MASK not in line]
    if raw:
        _check_maskable(path, raw[0], kind, fact)
    texts: list[MaskedText] = []
    num_without = 0
    for number, line in lines:
        if line.count(MASK) > 1:
            raise VesaliusError(
                given=f"{path}, line {number}: {line.count(MASK)} masks",
                expected=f"the word {MASK} at most once in a line",
                fix="write a line for each gap",
            )
        if MASK in line:
            texts.append(
                MaskedText(
                    text=line,
                    kind=kind,
                    relation=fact.relation,
                    subject=fact.subject,
                    answer=fact.answer,
                )
            )
        else:
            masked = mask_texts(fact, [line], kind=kind, seed=seed)
            num_without += not masked
            texts += masked
    if num_without:
        say(f"vesalius: {num_without} of {len(lines)} lines of {path} left out: nothing to hide")
    if not texts:
        raise VesaliusError(
            given=f"{path}: no line that can be masked",
            expected=f"texts that mention {fact.subject!r}"
            + (f" and {fact.answer!r}" if kind == "head-and-tail" else ""),
            fix=f"check --subject and --answer, or write {MASK} into the lines yourself",
        )
    return texts


def _check_maskable(path: Path, number: int, kind: Mention, fact: Fact) -> None:
    needed = {"head-and-tail": ("subject", "answer"), "head-only": ("subject",), "random": ()}
    missing = [name for name in needed[kind] if not getattr(fact, name)]
    if missing:
        wrong_usage(
            given=f"{path}, line {number}, without {MASK}",
            expected=f"{MASK} in each line, or a fact by which a word is hidden",
            fix="add " + " and ".join(f"--{name}" for name in missing),
        )


def _lines(path: Path) -> list[tuple[int, str]]:
    """The numbered lines of a text file that are not empty."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise VesaliusError(
            given=f"{path}: {error}", expected="a UTF-8 text file", fix="check the path"
        ) from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line]
    if not lines:
        raise VesaliusError(
            given=f"{path}: no texts", expected="at least one line", fix="write a text a line"
        )
    return lines


def _insist_on_the_model(known: "Location", specimen: "Specimen") -> None:
    if known.card.model_fingerprint != specimen.fingerprint:
        raise VesaliusError(
            given=f"--location found in {known.card.model} ({known.card.model_fingerprint}), "
            f"to be read in another model ({specimen.name}, {specimen.fingerprint})",
            expected="the model in which the neurons were located",
            fix="name that model with --model, or these neurons with --neurons",
        )


def _print(found: "Activations", flags: ActivationsFlags) -> None:
    ranked: dict[str, list[dict[str, Any]]] = {
        each.kind: found.ranked(flags.top, kind=each.kind).to_pylist() if flags.top else []
        for each in found.kinds
    }
    if flags.json:
        emit_json(
            {
                "model": found.card.model,
                "model_fingerprint": found.card.model_fingerprint,
                "kinds": found.to_table().to_pylist(),
                "differences": [asdict(each) for each in found.differences],
                "correlation": found.correlation,
                "within_facts": None if found.within_facts is None else asdict(found.within_facts),
                "ranked": ranked,
                "verdict": found.verdict,
                "warnings": list(found.card.warnings),
                "saved": flags.out,
            }
        )
        return
    kinds: list[dict[str, Any]] = found.to_table().to_pylist()
    emit_table(list(kinds[0]), [list(row.values()) for row in kinds])
    for kind, rows in ranked.items():
        if rows:
            emit("")
            emit_table(
                ("rank", "sum", "prob", "text"),
                [(row["rank"], row["total"], row["prob"], _shortened(row["text"])) for row in rows],
                title=f"{kind}: most and least active",
            )
    emit("")
    emit(found.verdict)
    if found.correlation is not None:
        emit(f"Spearman's rho between activation and probability: {found.correlation:.2f}")
    for warning in found.card.warnings:
        say(f"vesalius: {warning}")


def _shortened(text: str) -> str:
    before, gap, after = text.partition(MASK)
    side = (_SHOWN - len(gap)) // 2
    start = before if len(before) <= side else f"…{before[-side:]}"
    return f"{start}{gap}{after if len(after) <= side else f'{after[:side]}…'}"
