"""`vesalius landscape agreement | export | demo`: saved landscapes, and a bundled one.

Source: arXiv 1908.05620, section 3.4; this project.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vesalius.cli.attention_data import check_apart
from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.landscape_flags import AgreementFlags, ExportFlags, LandscapeDemoFlags
from vesalius.cli.landscape_show import (
    agreement_as_json,
    line_as_json,
    rollback_as_json,
    show_agreement,
    show_line,
    show_rollback,
    show_surface,
    surface_as_json,
    trajectory_as_json,
)
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.cli.quiet import quiet_loading
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import check_new_output


def run_agreement(flags: AgreementFlags) -> None:
    """Compare the training loss of a saved landscape with its held-out measures.

    Raises:
        VesaliusError: no landscape there, or one without what is asked for.
        WrongUsage: numbers that are none.
    """
    from vesalius.methods.loss_landscape import Line, Surface
    from vesalius.methods.loss_landscape.agreement import agreement

    if flags.out is not None:
        check_new_output(flags.out, force=flags.force)
    for name in ("tau", "margin"):
        if not 0 <= getattr(flags, name) < float("inf"):
            wrong_usage(
                given=f"--{name} {getattr(flags, name):g}",
                expected="a number from 0",
                fix="leave it out",
            )
    landscape = load_landscape(flags.surface, Line, Surface)
    if flags.label is not None:
        landscape = landscape.of_class(flags.label)
    found = agreement(
        landscape,
        tau_nats=flags.tau,
        margin=flags.margin,
        num_resamples=flags.resamples,
        seed=flags.seed,
    )
    if flags.out is not None:
        found.save(flags.out, force=flags.force)
        say(f"vesalius: wrote {flags.out}")
    if flags.json:
        emit_json({"agreement": agreement_as_json(found), "saved": flags.out})
    else:
        show_agreement(found)


def run_export(flags: ExportFlags) -> None:
    """Write a saved line, surface or trajectory for other programs.

    Raises:
        VesaliusError: no such result, files that exist, a measure that was not taken.
        WrongUsage: nothing to write, or two files at one place.
    """
    from vesalius.methods.loss_landscape import (
        Line,
        Surface,
        Trajectory,
        export_csv,
        export_npz,
        export_vtk,
    )

    places = {"csv": flags.csv, "npz": flags.npz, "vtk": flags.vtk}
    asked = {name: path for name, path in places.items() if path is not None}
    if not asked:
        wrong_usage(
            given="nothing to write",
            expected="--csv, --npz or --vtk",
            fix="write --csv surface.csv",
        )
    check_apart(**asked)
    for path in asked.values():
        check_new_output(path, force=flags.force)
    result = load_landscape(flags.result, Line, Surface, Trajectory)

    def vtk(found: Any, path: Path, *, force: bool) -> Path:
        options: dict[str, Any] = {"split": flags.split, "measure": flags.measure}
        return export_vtk(found, path, height=flags.height, force=force, **options)

    writers: dict[str, Callable[..., Path]] = {"vtk": vtk, "csv": export_csv, "npz": export_npz}
    written = {
        name: str(write(result, asked[name], force=flags.force))
        for name, write in writers.items()
        if name in asked
    }
    if flags.json:
        emit_json({"export": {"kind": result.kind, "written": written}})
    else:
        emit_table(("what", "file"), list(written.items()))


def run_demo(flags: LandscapeDemoFlags) -> None:
    """Draw the landscape of the bundled classifier; print what is seen, and the files last.

    Raises:
        VesaliusError: the folder may not be written.
    """
    with working("drawing a landscape"), quiet_loading():
        from vesalius.recipes.landscape_demo import MARKER, run_landscape_demo

        made_before = (flags.out / MARKER).is_file()
        check_new_output(flags.out, force=flags.force or made_before, marker=MARKER)
        found = run_landscape_demo(out=flags.out, force=flags.force)
    if flags.json:
        told = {
            "line": line_as_json(found.line),
            "surface": surface_as_json(found.surface),
            "trajectory": trajectory_as_json(found.path),
            "rollback": rollback_as_json(found.rolled_back),
        }
        files = [str(path) for path in found.files]
        emit_json({"demo": told, "notes": list(found.notes), "files": files})
        return
    show_line(found.line)
    emit("")
    show_surface(found.surface, found.path)
    emit("")
    show_rollback(found.rolled_back)
    emit("\n".join(["", *found.notes, *map(str, found.files)]))


def load_landscape(folder: Path, *kinds: Any) -> Any:
    """Read a result of one of some kinds from its own folder, or from that of a run.

    Raises:
        VesaliusError: none is there, the run is not finished, or it is of another kind.
    """
    from vesalius.core.result import load_result
    from vesalius.methods.loss_landscape.inputs import INPUTS, RESULT

    if (folder / INPUTS).is_dir():
        if not (folder / RESULT).is_dir():
            raise VesaliusError(
                given=f"{folder}, a run that is not finished",
                expected="a finished line or surface",
                fix="repeat its command, which goes on where it stopped",
            )
        folder = folder / RESULT
    found: Any = load_result(folder)
    if not isinstance(found, kinds):
        raise VesaliusError(
            given=f"{folder}, a result of kind {found.kind!r}",
            expected=f"one of {', '.join(kind.kind for kind in kinds)}",
            fix="name the folder of --out of `landscape surface` or `landscape line`",
        )
    return found
