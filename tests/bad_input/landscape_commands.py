"""Every command of landscapes, fed what it cannot take."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from landscape_results import make_line, make_rollback, make_surface

LABELLED = ("--data", "{opinions}")
START = ("--start", "{other_clf}")
FOUND = ("line", "surface", "trajectory", "rollback", "flatness")
RUNS: dict[str, tuple[str, ...]] = {
    "line": START, "surface": START, "barrier": ("--other", "{other_clf}")
}  # fmt: skip
EVERY = {verb: RUNS.get(verb, START if verb == "rollback" else ()) for verb in FOUND} | RUNS

# (what is wrong; the words of the command; exit code; parts of the message)
LANDSCAPE_COMMANDS: list[tuple[str, list[str], int, tuple[str, ...]]] = [
    *[
        (f"landscape {verb}: {name}", ["landscape", verb, "{clf}", *extra, *words], code, parts)
        for verb, extra in EVERY.items()
        for name, words, code, parts in [
            ("no data", ["--data", "{tmp}/no.tsv"], 1, ("no.tsv",)),
            ("empty data", ["--data", "{tmp}/empty.txt"], 1, ("empty.txt",)),
            ("held out", [*LABELLED, "--held-out", "exam"], 1, ("held-out='exam'", "dev, test")),
            ("number", [*LABELLED, "--max-train", "-1"], 2, ("--max-train",)),
            ("length", [*LABELLED, "--max-length", "0"], 2, ("--max-length",)),
            ("memory", [*LABELLED, "--memory", "much"], 1, ("much", "2GiB")),
            ("metric", [*LABELLED, "--metric", "brier"], 2, ("--metric brier", "NAME=")),
            ("metric twice", [*LABELLED, *("--metric", "a=json:dumps") * 2], 2, ("twice",)),
            ("metric path", [*LABELLED, "--metric", "a=no.such:f"], 1, ("no.such:f",)),
            ("metric name", [*LABELLED, "--metric", "loss=json:dumps"], 1, ("'loss'", "brier")),
            ("texts and data", [*LABELLED, "--texts", "f"], 2, ("--texts with --data",)),
            ("held-out texts alone", ["--held-out-texts", "f"], 2, ("without --texts",)),
            ("no texts", ["--texts", "{tmp}/no.txt"], 1, ("no.txt", "spelling")),
            ("empty texts", ["--texts", "{tmp}/empty.txt"], 1, ("empty.txt: no text",)),
            ("pairs of texts", ["--texts", "{tmp}/pairs.tsv"], 1, ("pairs.tsv: tabs",)),
            ("picture", [*LABELLED, "--plot", "p.gif"], 2, ("p.gif", ".png")),
            ("page exists", [*LABELLED, "--html", "{tmp}/mine.txt"], 1, ("exists", "--force")),
            ("inside", [*LABELLED, "--out", "{tmp}/o", "--html", "{tmp}/o/p"], 2, ("beside",)),
            ("no model", ["{tmp}/none", *LABELLED], 2, ("unexpected extra argument",)),
        ]
    ],
    *[
        (f"landscape {verb}: {name}", ["landscape", verb, "{clf}", *LABELLED, *extra, *words],
         code, parts)
        for verb, extra in RUNS.items()
        for name, words, code, parts in [
            ("not a run", ["--out", "{tmp}"], 1, ("holds something else", "another output")),
            ("a file", ["--out", "{tmp}/mine.txt"], 1, ("holds something else",)),
            ("under a file", ["--out", "{tmp}/mine.txt/o"], 1, ("'mine.txt' is a file",)),
            ("engine", ["--out", "{tmp}/o", "--engine", "steam"], 1, ("engine='steam'",)),
            ("workers alone", ["--workers", "2"], 2, ("--workers without --out",)),
            ("no workers", ["--workers", "0"], 2, ("--workers",)),
            ("engine alone", ["--engine", "ray"], 2, ("--engine without --out",)),
            ("one step", ["--steps", "1"], 2 if verb == "barrier" else 1, ("steps",)),
            ("group", ["--moved", "tail", "--dry-run"], 1, ("group 'tail'", "encoder")),
        ]
    ],
    *[
        (f"landscape {verb}: {name}", ["landscape", verb, "{clf}", *LABELLED, *words], code, parts)
        for verb, flag in {"line": "axis", "surface": "axes"}.items()
        for name, words, code, parts in [
            ("word", [f"--{flag}", "luck,random"], 1, (f"{flag}='luck'", "solution")),
            ("number of axes", [f"--{flag}", "random,random,random"], 2, (f"--{flag}", ": 3")),
            ("preset", ["--preset", "fast"], 1, ("preset='fast'", "paper")),
            ("bounds", ["--bounds", "-1"], 2, ("--bounds -1", "-1,2")),
            ("bounds words", ["--bounds", "a,b"], 2, ("--bounds a,b",)),
            ("bounds order", ["--bounds", "2,1"], 1, ("bounds=(2.0, 1.0)",)),
            ("bounds NaN", ["--bounds", "nan,1"], 1, ("bounds=(nan, 1.0)",)),
            ("normalisation", ["--normalisation", "luck"], 1, ("normalisation='luck'",)),
            ("no start", [], 1, ("tiny-classifier without its start", "--start")),
            ("no such start", ["--start", "{tmp}/none"], 1, ("none", "spelling")),
            ("start is the model", ["--start", "{clf}"], 1, ("same weights", "another one")),
            ("start of another kind", ["--start", "{gpt}"], 1, ("start: no tensor for",)),
            ("start of three classes", ["--start", "{pairs}", "--moved", "all"], 1,
             ("start: classifier.weight of shape [3, 16]", "[2, 16]")),
        ]
    ],
    *[
        (f"landscape line: {name}", ["landscape", "line", "{clf}", *LABELLED, *words], code, parts)
        for name, words, code, parts in [
            ("start of no axis", ["--axis", "random", *START], 2, ("--start with the axes",)),
            ("other of no axis", [*START, "--other", "f"], 2, ("--other with the axes",)),
            ("checkpoints of no axis", [*START, "--checkpoints", "f"], 2, ("--checkpoints with",)),
            ("layers of no axis", [*START, "--normalisation", "layer"], 2, ("--normalisation",)),
            ("no checkpoints", ["--axis", "pca"], 1, ("no checkpoints", "--checkpoints")),
            ("other", ["--axis", "other"], 2, ("without --other",)),
            ("other alone", ["--axis", "other", "--other", "f"], 2, ("without solution",)),
        ]
    ],
    ("landscape line: language model", ["landscape", "line", "{bert}", *LABELLED, "--axis",
     "random"], 2, ("language model", "--texts")),
    ("landscape line: texts to a classifier", ["landscape", "line", "{clf}", "--axis", "random",
     "--texts", "{tmp}/mine.txt"], 1, ("'classifier'",)),
    ("landscape line: other labels", ["landscape", "line", "{pairs}", *LABELLED, "--axis",
     "random"], 1, ("with 3 classes", "own data")),
    ("landscape line: regression", ["landscape", "line", "{regression}", *LABELLED, "--axis",
     "random"], 1, ("with 1 classes",)),
    ("landscape line: unknown model", ["landscape", "line", "no-such/model", *LABELLED, "--axis",
     "random"], 1, ("no-such/model", "spelling")),
    *[
        (f"landscape surface: {name}", ["landscape", "surface", "{clf}", *LABELLED, *words], code,
         parts)
        for name, words, code, parts in [
            ("one axis", ["--axes", "random"], 2, ("--axes random: 1", "two axes")),
            ("steps", ["--steps", "25x"], 2, ("--steps 25x", "25x21")),
            ("negative steps", ["--steps", "-5"], 2, ("--steps -5",)),
            ("three steps", ["--steps", "2x2x2"], 2, ("--steps 2x2x2",)),
            ("second bounds", ["--bounds", "0,1,2,1"], 1, ("second bounds=(2.0, 1.0)",)),
            ("three bounds", ["--bounds", "0,1,2"], 2, ("2 or 4 numbers",)),
            ("adaptive", [*START, "--adaptive", "0"], 2, ("--adaptive 0", "0.05")),
            ("adaptive NaN", [*START, "--adaptive", "nan"], 2, ("--adaptive nan",)),
            ("adaptive examples", [*START, "--adaptive", "1", "--keep-examples"], 2,
             ("--adaptive with",)),
            ("no path", [*START, "--trajectory", "{tmp}/none"], 1, ("none: no checkpoints",)),
            ("other is the model", [*START, "--other", "{clf}"], 1, ("two axes that are one",)),
            ("two solutions", [*START, "--axes", "solution,solution"], 1, ("solution, solution",)),
        ]
    ],
    *[
        (f"landscape trajectory: {name}", ["landscape", "trajectory", "{clf}", *LABELLED, *START,
         *words], code, parts)
        for name, words, code, parts in [
            ("axes", ["--axes", "random,random,random"], 2, (": 3", "one axis or two axes")),
            ("projection", ["--projection", "luck"], 1, ("projection='luck'", "paper")),
            ("heads", ["--heads", "mine"], 1, ("heads='mine'", "own")),
            ("paper", ["--axes", "solution,random", "--checkpoints", "{tmp}/none"], 1,
             ("none: no checkpoints",)),
            ("no checkpoints", [], 1, ("no checkpoints of its training", "seed-0")),
            ("another shape", ["--checkpoints", "{strange}"], 1,
             ("step 5: classifier.weight of shape [3, 16]", "--heads solution")),
            ("out exists", ["--out", "{tmp}"], 1, ("exists", "--force")),
        ]
    ],
    ("landscape trajectory: paper", ["landscape", "trajectory", "{clf}", *LABELLED, "--axes",
     "random", "--projection", "paper"], 2, ("--projection paper with --axes random",)),
    *[
        (f"landscape rollback: {name}", ["landscape", "rollback", "{clf}", *LABELLED, *words],
         code, parts)
        for name, words, code, parts in [
            ("groups", [*START, "--groups", "halves"], 1, ("groups='halves'", "thirds")),
            ("direction", [*START, "--direction", "up"], 1, ("direction='up'", "back")),
            ("split", [*START, "--split", "exam"], 1, ("split='exam'", "train")),
            ("resamples", [*START, "--resamples", "0"], 2, ("--resamples",)),
            ("no start", [], 1, ("without its start", "--start")),
            ("start", ["--start", "{gpt}"], 1, ("the start: no tensor for",)),
            ("start is the model", ["--start", "{clf}"], 1, ("same weights", "--start")),
            ("out exists", [*START, "--out", "{tmp}"], 1, ("exists", "--force")),
        ]
    ],
    *[
        (f"landscape flatness: {name}", ["landscape", "flatness", "{clf}", *LABELLED, *words],
         code, parts)
        for name, words, code, parts in [
            ("axes", ["--axes", "luck"], 1, ("axes='luck'",)),
            ("split", ["--split", "exam"], 1, ("split='exam'",)),
            ("tau", ["--tau", "0"], 2, ("--tau 0",)),
            ("sigma", ["--sigma", "-1"], 2, ("--sigma -1",)),
            ("rho", ["--rho", "nan"], 2, ("--rho nan",)),
            ("rho normalised", ["--rho-normalised", "inf"], 2, ("--rho-normalised inf",)),
            ("draws", ["--draws", "1"], 2, ("--draws",)),
            ("climb", ["--climb", "0"], 2, ("--climb",)),
            ("probes", ["--probes", "1"], 2, ("--probes 1",)),
            ("eigenvalues", ["--eigenvalues", "-1"], 2, ("--eigenvalues",)),
            ("group", ["--moved", "tail"], 1, ("group 'tail'",)),
            ("start alone", START, 2, ("--start with the axes",)),
            ("little memory", ["--memory", "100"], 1, ("vectors of", "num_eigenvalues=0")),
            ("out exists", ["--out", "{tmp}"], 1, ("exists", "--force")),
        ]
    ],
    ("landscape barrier: no other", ["landscape", "barrier", "{clf}", *LABELLED], 2, ("--other",)),
    ("landscape barrier: itself", ["landscape", "barrier", "{clf}", *LABELLED, "--other", "{clf}"],
     1, ("same weights", "another one")),
    ("landscape barrier: heads", ["landscape", "barrier", "{clf}", *LABELLED, "--other", "{bert}"],
     1, ("no tensor for", "--moved encoder")),
    *[
        (f"landscape agreement: {name}", ["landscape", "agreement", *words], code, parts)
        for name, words, code, parts in [
            ("nothing there", ["{tmp}/none"], 1, ("none", "save()")),
            ("not finished", ["{half_run}"], 1, ("not finished", "goes on")),
            ("another kind", ["{rollback}"], 1, ("loss_landscape.rollback", "surface")),
            ("no examples", ["{surface}", "--label", "1"], 1, ("without the losses",
             "--keep-examples")),
            ("no class", ["{kept_line}", "--label", "7"], 1, ("without an example",)),
            ("label", ["{surface}", "--label", "-1"], 2, ("--label",)),
            ("tau", ["{surface}", "--tau", "nan"], 2, ("--tau nan",)),
            ("margin", ["{surface}", "--margin", "-1"], 2, ("--margin -1",)),
            ("nothing finite", ["{nowhere}"], 1, ("finite",)),
            ("out exists", ["{surface}", "--out", "{tmp}"], 1, ("exists", "--force")),
        ]
    ],
    *[
        (f"landscape export: {name}", ["landscape", "export", *words], code, parts)
        for name, words, code, parts in [
            ("nothing to write", ["{surface}"], 2, ("nothing to write", "--csv")),
            ("nothing there", ["{tmp}/none", "--csv", "{tmp}/a.csv"], 1, ("none", "save()")),
            ("another kind", ["{rollback}", "--csv", "{tmp}/a.csv"], 1, ("rollback",)),
            ("not finished", ["{half_run}", "--csv", "{tmp}/a.csv"], 1, ("not finished",)),
            ("exists", ["{surface}", "--csv", "{tmp}/mine.txt"], 1, ("exists", "--force")),
            ("one file", ["{surface}", "--csv", "{tmp}/a", "--npz", "{tmp}/a"], 2, ("beside",)),
            ("name", ["{surface}", "--vtk", "{tmp}/a.vts"], 1, ("a.vts", ".vtk")),
            ("split", ["{surface}", "--vtk", "{tmp}/a.vtk", "--split", "exam"], 1, ("'exam'",)),
            ("height", ["{surface}", "--vtk", "{tmp}/a.vtk", "--height", "0"], 1, ("height=0",)),
        ]
    ],
    *[
        (f"landscape story: {name}", ["landscape", "story", "{bert}", "--out", "{tmp}/o", *words],
         code, parts)
        for name, words, code, parts in [
            ("seeds", ["--seeds", "a"], 2, ("--seeds a",)),
            ("one side", ["--surface-steps", "16"], 2, ("--surface-steps 16", "16x13")),
            ("no data", ["--data", "{tmp}/no.tsv"], 1, ("no.tsv",)),
            ("snapshots", ["--snapshots", "1"], 2, ("--snapshots",)),
            ("examples", ["--max-examples", "0"], 2, ("--max-examples",)),
            ("steps", ["--surface-steps", "1x1", "--dry-run"], 1, ("steps",)),
            ("line steps", ["--line-steps", "1"], 2, ("--line-steps",)),
            ("epochs", ["--epochs", "-1", "--dry-run"], 1, ("epochs",)),
        ]
    ],
    ("landscape demo: not ours", ["landscape", "demo", "--out", "{tmp}"], 1, ("exists", "--force")),
    ("landscape demo: force", ["landscape", "demo", "--out", "{tmp}", "--force"], 1,
     ("not replaced even with force",)),
]  # fmt: skip

LANDSCAPE_FILES = {"pairs.tsv": "Paris\tRome\nTokyo\tJapan\n"}


def saved_landscapes(folder: Path) -> dict[str, Path]:
    """Results that no row writes to, and a run that was broken off."""
    surface, line = make_surface(), make_line()
    holes = np.full_like(surface.values["train"]["loss"], math.nan)
    nowhere = replace(surface, values={**surface.values, "train": {"loss": holes}})
    kept = {s: {m: v[:, None] for m, v in found.items()} for s, found in line.values.items()}
    labels = dict.fromkeys(kept, np.zeros(1, dtype=np.int64))
    (folder / "half" / "inputs").mkdir(parents=True)
    (folder / "half" / "inputs" / "run.json").write_text("{}", "utf-8")
    return {
        "surface": surface.save(folder / "surface"),
        "nowhere": nowhere.save(folder / "nowhere"),
        "kept_line": replace(line, examples=kept, labels=labels).save(folder / "line"),
        "rollback": make_rollback().save(folder / "rollback"),
        "half_run": folder / "half",
    }
