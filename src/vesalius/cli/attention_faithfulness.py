"""`vesalius attention faithfulness`: does the prediction hang on the links of the tree?

Source: arXiv 2004.11207, section 4.2.
"""

from typing import TYPE_CHECKING, Any, Final

from vesalius.cli.attention_data import (
    check_apart,
    check_tree_flags,
    counted,
    open_data,
    score_config,
    take,
)
from vesalius.cli.attention_flags import FaithfulnessFlags
from vesalius.cli.errors import say
from vesalius.cli.neuron_corpus import check_outputs, write_outputs
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working

if TYPE_CHECKING:
    from vesalius.methods.attention_attribution import Faithfulness

_COLUMNS: Final = {
    "links_become": "links become",
    "links": "taken out",
    "loss_of_prob": "loss of prob",
    "low": "low",
    "high": "high",
    "tree_takes_more": "tree takes more",
    "p_value": "p",
}


def run_faithfulness(flags: FaithfulnessFlags) -> None:
    """Take the links of each text's tree out, beside others; print, save and draw what happens.

    Raises:
        VesaliusError: data or options that do not fit the model, or files that exist.
    """
    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    check_apart(out=flags.out, html=flags.html, plot=flags.plot)
    check_tree_flags(flags)
    config = score_config(flags)
    data = open_data(flags)
    specimen = open_model(flags.model, flags)
    asked = take(data, flags.split, max_texts=flags.max_texts, specimen=specimen, by_label=False)
    from vesalius.methods.attention_attribution import faithfulness

    rule: Any = flags.tree_rule
    root: Any = flags.root
    with working(f"taking links out of {counted(len(asked.texts), 'text')}"):
        found = faithfulness(
            specimen,
            asked.texts,
            pairs=asked.pairs,
            tau=flags.tau,
            rule=rule,
            root=root,
            num_random=flags.controls,
            randomise=not flags.no_shuffle,
            config=config,
            seed=flags.seed,
        )
    write_outputs(found, flags.out, flags.html, flags.plot, force=flags.force)
    if flags.json:
        emit_json({"faithfulness": _faithfulness_as_json(found)})
    else:
        _show_faithfulness(found)
    for warning in found.card.warnings:
        say(f"vesalius: {warning}")


def _faithfulness_as_json(found: "Faithfulness") -> dict[str, Any]:
    return {
        "rows": found.to_table().to_pylist(),
        "verdict": found.verdict,
        "agreement_with_shuffled": float(found.agreement.mean()) if len(found.agreement) else None,
        "warnings": list(found.card.warnings),
    }


def _show_faithfulness(found: "Faithfulness") -> None:
    rows: list[dict[str, Any]] = found.to_table().to_pylist()
    emit_table(
        list(_COLUMNS.values()), [[_rounded(row[name]) for name in _COLUMNS] for row in rows]
    )
    emit(found.verdict)
    if len(found.agreement):
        rho = found.agreement.mean()
        emit(f"scores of a copy with shuffled weights: rank correlation {rho:+.3f}")


def _rounded(cell: Any) -> Any:
    return round(cell, 4) if isinstance(cell, float) else cell
