"""Results of landscapes, their exports and pictures, asked for what they do not have."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import vesalius
from bad_input.lab import Call, Lab
from landscape_results import (
    bowl,
    errors_of,
    make_barrier,
    make_line,
    make_surface,
    make_trajectory,
)

la = vesalius.landscape


def _recorded(lab: Lab) -> Any:
    recorder = la.Recorder(lab.tmp / "steps", steps=[0])
    recorder.on_step(lab.classifier.model, 0)
    return recorder.on_step(lab.opened("other_weights").model, 0)


def _alone() -> Any:
    values = {"train": bowl(0.0)["train"]}
    return make_line(values=values, standard_errors=errors_of(values))


def _nowhere() -> Any:
    found = make_surface()
    holes = np.full_like(found.values["train"]["loss"], math.nan)
    return replace(found, values={**found.values, "train": {"loss": holes}})


def _two_of_a_step(lab: Lab) -> Path:
    for name in ("step-1", "step-001"):
        (lab.tmp / name).mkdir()
    return lab.tmp


# (name: the public name it covers, and what is wrong; the call; parts of `given` and of `fix`)
RESULT_ROWS: list[tuple[str, Call, str, str]] = [
    ("BarrierResult: measure", lambda _: make_barrier().barrier("train", "brier"), "'brier'",
     "name one"),
    ("Line: measure", lambda _: make_line().measured("train", "brier"), "'brier'", "name one"),
    ("Line: class", lambda _: make_line().of_class(1), "without the losses", "again"),
    ("Line: save exists", lambda x: make_line().save(x.tmp), "exists", "--force"),
    ("Surface: split", lambda _: make_surface().minimum("exam", "loss"), "'exam'", "name one"),
    ("Surface: nowhere finite", lambda _: _nowhere().minimum("train", "loss"), "no point",
     "narrower"),
    ("Surface: subset", lambda _: make_surface().subset({"train": [0]}), "without the losses",
     "again"),
    ("Surface: page exists", lambda x: make_surface().to_html(x.file("p.html", "")), "exists",
     "--force"),
    ("Trajectory: measure", lambda _: make_trajectory().measured("train", "brier"), "'brier'",
     "name one"),
    ("agreement: no held-out data", lambda _: la.agreement(_alone()), "training data alone",
     "again"),
    ("agreement: tau", lambda _: la.agreement(make_line(), tau_nats=math.nan), "tau_nats=nan",
     "0.1"),
    ("agreement: margin", lambda _: la.agreement(make_line(), margin=-1), "margin=-1", "0.02"),
    ("agreement: resamples", lambda _: la.agreement(make_line(), num_resamples=-1),
     "num_resamples=-1", "200"),
    ("checkpoints_in: none", lambda x: la.checkpoints_in(x.tmp), "no checkpoint in it", "seed-0"),
    ("checkpoints_in: twice", lambda x: la.checkpoints_in(_two_of_a_step(x)),
     "two checkpoints of one step", "name the folder"),
    ("Recorder: every", lambda x: la.Recorder(x.tmp, every=-1), "every=-1", "every=100"),
    ("Recorder: another start", _recorded, "another training", "another folder"),
    *[
        (f"{name}: exists", lambda x, name=name, ending=ending: getattr(la, name)(
            make_line(), x.file(f"mine.{ending}", "")), "exists", "--force")
        for name, ending in [("export_csv", "csv"), ("export_npz", "npz"), ("export_vtk", "vtk")]
    ],
    ("export_vtk: name", lambda x: la.export_vtk(make_line(), x.tmp / "a.txt"), "a.txt", ".vtk"),
    ("export_vtk: measure", lambda x: la.export_vtk(make_line(), x.tmp / "a.vtk", measure="fame"),
     "'fame'", "name one"),
    ("export_vtk: height", lambda x: la.export_vtk(make_line(), x.tmp / "a.vtk", height=0),
     "height=0", "height=1"),
    ("plot_surface: kind", lambda _: la.plot_surface(make_surface(), kind="4d"), "kind='4d'",
     "contour"),
    ("plot_surface: another plane", lambda _: la.plot_surface(make_surface(),
     trajectory=make_trajectory(axes=("pca", "random"))), "a trajectory along pca",
     "same frame"),
    ("plot_surfaces: panels", lambda _: la.plot_surfaces(make_surface(), panels=[("a", "b")]),
     "'b' of 'a'", "name one"),
    ("write_surface: exists", lambda x: la.write_surface(make_surface(), x.file("p.html", "")),
     "exists", "--force"),
]  # fmt: skip
