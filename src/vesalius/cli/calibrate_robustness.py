"""`vesalius calibrate robustness`: how far calibrated answers hang on the prompt.

Source: arXiv 2205.10183, sections 4.3 and 5.
"""

from typing import TYPE_CHECKING, Any

from vesalius.cli.attention_data import check_apart
from vesalius.cli.calibrate_compare import about, known_methods, method_options
from vesalius.cli.calibrate_data import Asked, ask, options_of, words
from vesalius.cli.calibrate_flags import RobustnessFlags
from vesalius.cli.errors import say
from vesalius.cli.neuron_corpus import check_outputs, write_outputs
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.core.errors import VesaliusError

if TYPE_CHECKING:
    from vesalius.methods.calibration.robustness_design import StudyDesign
    from vesalius.methods.calibration.robustness_result import Robustness
    from vesalius.models.specimen import Specimen


def run_robustness(flags: RobustnessFlags) -> None:
    """Vary the prompt and the estimate set; show how far each calibrator's answers hold.

    Raises:
        VesaliusError: data or prompts that do not fit the model, too few rows, files that exist.
    """
    from vesalius.methods.calibration.robustness_design import AXES

    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    check_apart(out=flags.out, html=flags.html, plot=flags.plot, store=flags.store)
    axes = words("axes", flags.axes, AXES) or AXES
    design = _design(flags, axes)
    asked = ask(flags)
    if flags.dry_run:
        _plan(design, asked, flags)
        return
    specimen = open_model(flags.model, flags)
    found = _studied(specimen, design, asked, flags)
    write_outputs(found, flags.out, flags.html, flags.plot, force=flags.force)
    _show(found, flags)


def _design(flags: RobustnessFlags, axes: tuple[str, ...]) -> "StudyDesign":
    from vesalius.methods.calibration.robustness_design import StudyDesign

    usual = StudyDesign()
    sizes = {n for n in usual.estimate_sizes if n < flags.per_class} | {flags.per_class}
    return StudyDesign(
        axes=axes,
        methods=words("methods", flags.methods, known_methods()),
        base_shots=flags.shots,
        num_seeds=flags.seeds,
        num_orders=flags.orders,
        leading=flags.leading,
        estimate_per_class=flags.per_class,
        estimate_sizes=tuple(sorted(sizes)),
    )


def _studied(
    specimen: "Specimen", design: "StudyDesign", asked: Asked, flags: RobustnessFlags
) -> "Robustness":
    from vesalius.data.label_draws import CONTENT_FREE
    from vesalius.methods.calibration.robustness import run_study
    from vesalius.methods.calibration.scorer import make_scorer

    masked = specimen.task == "masked-lm"
    plan = _laid_out(design, asked, flags)
    with working("studying", total=len(plan.prompts)) as step:
        return run_study(
            design,
            prompt=asked.prompt,
            train=asked.train,
            test=asked.test,
            variants=_variants(asked),
            score_texts=make_scorer(specimen, store=flags.store, options=options_of(flags)),
            label_names=asked.label_names,
            options={k: v for k, v in method_options(flags.preset).items() if k in design.methods},
            content_free=CONTENT_FREE[:2] if masked else CONTENT_FREE,
            seed=flags.seed,
            model=specimen.name,
            model_fingerprint=specimen.fingerprint,
            about=about(asked, flags.shots),
            progress=lambda *_: step(),
        )


def _variants(asked: Asked) -> dict[str, Any]:
    return {f"template {i}": each.prompt() for i, each in enumerate(asked.task.templates)}


def _laid_out(design: "StudyDesign", asked: Asked, flags: RobustnessFlags) -> Any:
    from vesalius.methods.calibration.robustness_plan import plan_study

    plan = plan_study(
        design, prompt=asked.prompt, train=asked.train, variants=_variants(asked), seed=flags.seed
    )
    if not plan.conditions:
        raise VesaliusError(
            given="; ".join(f"{axis}: {why}" for axis, why in plan.left_out.items()),
            expected="an axis that can be studied",
            fix="choose other --axes, or more --shots or --per-class",
        )
    return plan


def _plan(design: "StudyDesign", asked: Asked, flags: RobustnessFlags) -> None:
    plan = _laid_out(design, asked, flags)
    row = {
        "conditions": len(plan.conditions),
        "prompts": len(plan.prompts),
        "texts_to_score": plan.num_texts(len(asked.test)),
    }
    if flags.json:
        emit_json({"forecast": row, "left_out": plan.left_out, "notes": list(plan.notes)})
        return
    emit_table(list(row), [list(row.values())])
    for note in (*plan.notes, *(f"{a}: {why}" for a, why in plan.left_out.items())):
        say(f"vesalius: {note}")


def _show(found: "Robustness", flags: RobustnessFlags) -> None:
    from vesalius.methods.calibration.wording import robustness_rows, robustness_test_rows

    if flags.json:
        emit_json(
            {
                "model": found.card.model,
                "num_prompts": found.num_prompts,
                "cells": found.table.to_pylist(),
                "summary": found.summary_table().to_pylist(),
                "paired": found.paired_table().to_pylist(),
                "left_out": found.left_out,
            }
        )
    else:
        emit_table(*robustness_rows(found))
        emit_table(*robustness_test_rows(found), title="Differences in the same cells")
    for note in (*found.notes, *(f"{a}: {why}" for a, why in found.left_out.items())):
        say(f"vesalius: {note}")
    for warning in found.card.warnings:
        say(f"vesalius: {warning}")
