"""Located and turned neurons as tables for people and as JSON for programs.

Source: figures 3 and 4 of arXiv 2104.08696, in numbers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vesalius.cli.errors import say
from vesalius.cli.output import emit, emit_table

if TYPE_CHECKING:
    from vesalius.methods.knowledge_neurons import Evidence, Guess, Intervention, Location


def story_dict(
    location: "Location | None",
    intervention: "Intervention | None",
    evidence: "Evidence | None" = None,
) -> dict[str, Any]:
    """Tell a story in plain values; the arrays of all neurons stay in the saved result."""
    told: dict[str, Any] = {}
    for result in filter(None, (location, intervention)):
        told |= {
            "model": result.card.model,
            "model_fingerprint": result.card.model_fingerprint,
            "prompts": list(result.prompts),
            "answer": result.answer,
        }
    if location is not None:
        told["location"] = {
            "neurons": location.to_table().to_pylist(),
            "prob": float(location.prob.mean()),
            "guesses": _guess_rows(location.guesses),
            "share": location.share,
            "stability": location.stability,
            "max_gap": float(location.gap.max()),
            "max_nodes": int(location.num_nodes.max()),
            "verdict": location.verdict,
            "warnings": list(location.card.warnings),
        }
    if intervention is not None:
        told["intervention"] = {
            "neurons": [{"layer": n[0], "neuron": n[1]} for n in intervention.neurons],
            "factor": intervention.factor,
            "prob_before": float(intervention.prob_before.mean()),
            "prob_after": float(intervention.prob_after.mean()),
            "change": intervention.change,
            "control_change": intervention.control_change.tolist(),
            "guesses_before": _guess_rows(intervention.guesses_before),
            "guesses_after": _guess_rows(intervention.guesses_after),
            "seed": intervention.card.seed,
            "warnings": list(intervention.card.warnings),
        }
    if evidence is not None:
        told["evidence"] = {
            "verdict": evidence.verdict,
            "seed": evidence.card.seed,
            "num_controls": evidence.random_after.shape[2],
            "sizes": evidence.to_table().to_pylist(),
        }
    return told


def emit_story(
    location: "Location | None",
    interventions: Sequence["Intervention"],
    evidence: "Evidence | None" = None,
) -> None:
    """Print what was asked, the neurons, what turning them did, and the best answers."""
    results = [*([location] if location is not None else []), *interventions]
    first = results[0]
    emit(f"{first.prompts[0]}  {first.answer}   ({len(first.prompts)} prompts, {first.card.model})")
    if location is not None:
        table = location.to_table()
        emit_table(table.column_names, [list(row.values()) for row in table.to_pylist()])
        emit(location.verdict if evidence is None else evidence.verdict)
        emit(f"completeness gap: at most {location.gap.max():.1e} of the target's units")
        emit(f"probability of {location.answer}: {location.prob.mean():.4f}")
        if location.stability is not None:
            emit(f"agreement of the paraphrases: {location.stability:.2f} (mean Jaccard index)")
    for each in interventions:
        emit(_change_in_words(each))
    if evidence is not None:
        emit("")
        emit_table(*_evidence_columns(evidence), title="change of the probability, by size")
    emit("")
    emit_table(*_guess_columns(location, interventions), title="best answers to the first prompt")
    emit("")
    for warning in dict.fromkeys(text for result in results for text in result.card.warnings):
        say(f"vesalius: warning: {warning}")


def _evidence_columns(found: "Evidence") -> tuple[list[str], list[list[str]]]:
    """A row for each size: both factors, each beside its controls."""
    names = ["neurons"]
    for factor in found.factors.tolist():
        names += [f"x {factor:g}", "random", "as active"]
    rows: list[list[str]] = []
    for place, size in enumerate(found.sizes.tolist()):
        row = [str(size)]
        for number in range(len(found.factors)):
            numbers = (found.change, found.random_mean, found.active_mean)
            row += [f"{each[number, place]:+.1%}" for each in numbers]
        rows.append(row)
    return names, rows


def _change_in_words(each: "Intervention") -> str:
    words = (
        f"neurons x {each.factor:g}: probability {each.prob_before.mean():.4f} -> "
        f"{each.prob_after.mean():.4f} ({each.change:+.1%})"
    )
    if not len(each.control_change):
        return words
    low, high = each.control_change.min(), each.control_change.max()
    return (
        f"{words}; {len(each.control_change)} random sets {each.control_mean:+.1%} "
        f"({low:+.1%} to {high:+.1%})"
    )


def _guess_columns(
    location: "Location | None", interventions: Sequence["Intervention"]
) -> tuple[list[str], list[list[str]]]:
    untouched = location.guesses if location is not None else interventions[0].guesses_before
    columns = {"untouched": untouched}
    columns |= {f"neurons x {each.factor:g}": each.guesses_after for each in interventions}
    prompt = untouched[0].prompt
    spoken = [
        [f"{guess.token} {guess.prob:.4f}" for guess in guesses if guess.prompt == prompt]
        for guesses in columns.values()
    ]
    return list(columns), [list(row) for row in zip(*spoken, strict=True)]


def _guess_rows(guesses: Sequence["Guess"]) -> list[dict[str, Any]]:
    return [{"prompt": g.prompt, "rank": g.rank, "token": g.token, "prob": g.prob} for g in guesses]
