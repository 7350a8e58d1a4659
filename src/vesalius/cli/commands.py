"""The commands beside `neurons`: demo, check, models, cite.

Source: the commands of docs/architecture.md.
"""

from dataclasses import asdict
from typing import Any, Final

import typer

from vesalius.cli.errors import FAILED
from vesalius.cli.flags import (
    DEFAULT_MODEL,
    CheckFlags,
    CiteFlags,
    DemoFlags,
    ModelsFlags,
    takes,
)
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working

EXAMPLES: Final = {
    "demo": "Example: vesalius demo --out my-demo",
    "check": "Example: vesalius check mini-bert --json",
    "models": "Example: vesalius models",
    "cite": "Example: vesalius cite results/france knowledge_neurons",
}


@takes(DemoFlags)
def demo(flags: DemoFlags) -> None:
    """See three facts, the neurons that hold them, and those turned.

    A folder that an earlier demo made is replaced; anything else needs --force.
    """
    from vesalius.cli.demo import show_demo

    specimen = open_model(flags.model, flags)
    with working("locating three facts"):
        from vesalius.recipes.asides import bundled_asides
        from vesalius.recipes.demo import run_demo

        asides = bundled_asides() if flags.model == DEFAULT_MODEL else ()
        found = run_demo(
            specimen,
            out=flags.out,
            notes=[aside.sentence for aside in asides],
            force=flags.force,
            seed=flags.seed,
        )
    show_demo(found, asides, json=flags.json)


@takes(CheckFlags)
def check(flags: CheckFlags) -> None:
    """Lay out the parts of a model, and compare it with eager.

    Ends with exit code 1 when the model is not supported.
    """
    from vesalius.models.checking import check as check_specimen

    specimen = open_model(flags.model, flags)
    with working("checking the seams"):
        report = check_specimen(specimen)
    if flags.json:
        emit_json(asdict(report) | {"supported": report.supported})
    else:
        emit_table(list(report.rows[0]), [list(row.values()) for row in report.rows])
        emit("")
        emit_table(("what", "found"), _check_summary(report))
    if not report.supported:
        raise typer.Exit(FAILED)


def _check_summary(report: Any) -> list[tuple[str, object]]:
    seam = {"registry": "registry", "softmax": "softmax watch", "none": "none"}
    shortcuts = ("split_block", "target_row", "last_row_replay")
    confirmed = [name.replace("_", " ") for name in shortcuts if getattr(report, name)]
    return [
        ("model", f"{report.name} ({report.architecture}, {report.task})"),
        ("parameters", f"{report.num_parameters:,}"),
        ("fingerprint", report.fingerprint),
        ("attention seam", seam.get(report.attention_seam, report.attention_seam)),
        ("neurons against eager", f"{report.neuron_difference:.1e} of the largest logit"),
        (
            "attention against eager",
            "not compared"
            if report.attention_difference is None
            else f"{report.attention_difference:.1e} of the largest logit",
        ),
        ("shortcuts confirmed", ", ".join(confirmed) or "none"),
        ("supported", "yes" if report.supported else f"no: {report.unclimbable or 'no seam'}"),
    ]


@takes(ModelsFlags)
def models(flags: ModelsFlags) -> None:
    """List the bundled models: task, size, licence, score."""
    from vesalius.cli.bundled import show_models

    show_models(json=flags.json)


@takes(CiteFlags)
def cite(flags: CiteFlags) -> None:
    """Print the BibTeX of saved results or of named methods."""
    from vesalius.cli.citing import subjects_of
    from vesalius.core.cite import cite as cite_subjects

    emit(cite_subjects(*subjects_of(flags.subjects or [])))


COMMANDS: Final = {"demo": demo, "check": check, "models": models, "cite": cite}
