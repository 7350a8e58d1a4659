"""Every command of calibrate, fed what it cannot take."""

import json
from pathlib import Path

import numpy as np

from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration.calibrators import Uncalibrated
from vesalius.methods.calibration.classifier import FewShotClassifier
from vesalius.methods.calibration.inputs import store_of
from vesalius.methods.calibration.score import score
from vesalius.models.specimen import Specimen

DATA = ("--data", "{opinions}")
OWN = (*DATA, "--template", "{tmp}/own.toml")
MAIL = ("--data", "{tmp}/mail.tsv", "--template", "{tmp}/own.toml")
TEMPLATE = "{text} is in {label}"
WORDS = {"negative": "France", "positive": "Japan"}


def _template(**words: str) -> str:
    said = ", ".join(f'{label} = "{word}"' for label, word in words.items())
    return f'template = "{TEMPLATE}"\nwords = {{ {said} }}\n'


def _samples(*, num: int = 6, choices: tuple[str, str] = ("no", "yes"), target: int = 0) -> str:
    return "".join(
        json.dumps({
            "doc_id": i, "target": target, "arguments": [["x", f" {word}"] for word in choices],
            "resps": [[[-1.0 - i, False]], [[-2.0, False]]],
        }) + "\n" for i in range(num)
    )  # fmt: skip


CALIBRATION_FILES = {
    "own.toml": _template(**WORDS),
    "broken.toml": "template =\n",
    "no-label.toml": 'template = "text"\nwords = ["a", "b"]\n',
    "duplicate.toml": _template(negative="a", positive="a"),
    "long-word.toml": _template(negative="Parisian", positive="Japan"),
    "unknown.toml": _template(negative="France", positive="%"),
    "pair.toml": 'template = "{first} {second} {label}"\nwords = ["a", "b"]\n',
    "long.txt": "Paris\n" + "Paris " * 40 + "\n",
    "mask.txt": "Paris\n\n[MASK] Rome\n",
    "samples.jsonl": _samples(),
    "few.jsonl": _samples(num=3),
    "other.jsonl": _samples(choices=("a", "b")),
    "untold.jsonl": _samples(target=-1),
    "cut.jsonl": _samples()[:-9],
    "odd.jsonl": '{"arguments": null, "target": 0}\n',
}


def kept_places(specimen: Specimen, folder: Path) -> dict[str, Path]:
    """Make what the rows read: scores and a classifier of the tiny model, under the own prompt."""
    prompt = LabelPrompt(template=TEMPLATE, words=tuple(WORDS.values()))
    score(specimen, prompt, ["Paris"], store=store_of(folder / "stores", prompt))
    made = FewShotClassifier(
        prompt=prompt, calibrator=Uncalibrated().fit(np.zeros((1, 2))), label_names=tuple(WORDS),
        model=specimen.name, fingerprint=specimen.fingerprint,
    )  # fmt: skip
    made.save(folder / "kept")
    made.save(folder / "half")
    (folder / "half" / "calibrator.json").unlink()
    return {name: folder / name for name in ("stores", "kept", "half")}


# (what is wrong; the words of the command; exit code; parts of the message)
CALIBRATION_COMMANDS: list[tuple[str, list[str], int, tuple[str, ...]]] = [
    *[
        (f"{verb}: {name}", ["calibrate", verb, "--model", "{gpt}", *words, *extra], code, parts)
        for verb, extra in {
            "score": [], "compare": [], "fit": ["--out", "{tmp}/o"],
            "robustness": ["--axes", "seed", "--seeds", "1", "--per-class", "1"],
        }.items()
        for name, words, code, parts in [
            ("task", ["--task", "sst9"], 1, ("'sst9'", "template file")),
            ("no data", ["--task", "sst2"], 1, ("'sst2' without data", "stanfordnlp/sst2")),
            ("template alone", ["--template", "f.toml"], 2, ("f.toml without --data",)),
            ("no template", [*DATA, "--template", "{tmp}/no.toml"], 1, ("no.toml", "no file")),
            ("broken", [*DATA, "--template", "{tmp}/broken.toml"], 1, ("line 1", "mend")),
            ("no label", [*DATA, "--template", "{tmp}/no-label.toml"], 1, ("0 times",)),
            ("one word", [*DATA, "--template", "{tmp}/duplicate.toml"], 1, ("'a', twice",)),
            ("pairs", [*DATA, "--template", "{tmp}/pair.toml"], 1, ("single texts",)),
            ("other labels", [*MAIL, "--dev-share", "0.5"], 1, ("no word for label 'ham'",)),
            ("other classes", ["--data", "{tmp}/mail.tsv", "--task", "sst2"], 1, ("'ham'",)),
            ("none to judge by", MAIL, 1, ("no dev", "--dev-share 0.1")),
            ("share", [*MAIL, "--dev-share", "2"], 1, ("dev_share=2",)),
            ("no file", ["--data", "{tmp}/no.csv", *OWN[2:]], 1, ("no.csv",)),
            ("no set", ["--data", "{tmp}", *OWN[2:]], 1, ("folder", "train.tsv")),
            ("column", [*OWN, "--label-column", "mood"], 1, ("'mood'", "text, label")),
            ("split", [*OWN, "--split", "exam"], 1, ("'exam'", "train, dev, test")),
            ("variant", [*OWN, "--variant", "9"], 1, ("variant=9", "0 to 0")),
            ("shots", [*OWN, "--shots", "99"], 1, ("99 demonstrations from", "or fewer")),
            ("negative", [*OWN, "--shots", "-1"], 2, ("--shots",)),
            ("texts", [*OWN, "--max-texts", "-1"], 2, ("--max-texts",)),
            ("characters", [*OWN, "--max-characters", "1"], 1, ("max_characters=1", "0 for all")),
            ("preset", [*OWN, "--preset", "fast"], 1, ("preset='fast'", "paper")),
            ("too long", [*OWN, "--too-long", "cut"], 1, ("too_long='cut'", "skip")),
            ("model", [*OWN, "--model", "no-such/model"], 1, ("no-such/model", "spelling")),
            ("classifier", [*OWN, "--model", "{clf}"], 1, ("'classifier'", "mini-gpt")),
            ("context", [*OWN, "--shots", "6"], 1, ("over", "at most 32 tokens", "skip")),
            ("word", [*DATA, "--template", "{tmp}/long-word.toml", "--preset", "paper", "--shots",
             "0"], 1, ("['Paris', '##i', '##a', '##n']", "leave the preset")),
            ("unknown word", [*DATA, "--template", "{tmp}/unknown.toml", "--shots", "0"], 1,
             ("'%'", "spelling")),
            ("store", [*OWN, "--shots", "0", "--model", "{bert}", "--store", "{stores}"], 1,
             ("with model 'tiny-gpt'", "another folder")),
            ("store in a file", [*OWN, "--shots", "0", "--store", "{tmp}/mine.txt"], 1,
             ("'mine.txt' is a file",)),
        ]
    ],
    *[
        (f"{verb}: {name}", ["calibrate", verb, "--model", "{gpt}", *OWN, *words], code, parts)
        for verb in ("compare", "robustness")
        for name, words, code, parts in [
            ("picture", ["--plot", "p.gif"], 2, ("p.gif", ".png")),
            ("out exists", ["--out", "{tmp}"], 1, ("exists", "--force")),
            ("not ours", ["--out", "{tmp}", "--force"], 1, ("result.json",)),
            ("page exists", ["--html", "{tmp}/mine.txt"], 1, ("exists", "--force")),
            ("inside", ["--out", "{tmp}/o", "--html", "{tmp}/o/p"], 2, ("beside",)),
            ("store inside", ["--out", "{tmp}/o", "--store", "{tmp}/o/s"], 2, ("beside",)),
            ("method", ["--methods", "magic"], 1, ("methods='magic'", "prototypical")),
            ("estimate set", ["--per-class", "0"], 2, ("--per-class",)),
        ]
    ],
    *[
        (f"{verb}: {name}", ["calibrate", verb, "--model", "{gpt}", *OWN, *words], code, parts)
        for verb, out in {"compare": [], "fit": ["--out", "{tmp}/o"]}.items()
        for name, words, code, parts in [
            ("estimate", [*out, "--estimate", "luck"], 1, ("estimate='luck'", "generated")),
            ("generated", [*out, "--generated", "-1"], 2, ("--generated",)),
        ]
    ],
    *[
        (f"score: {name}", ["calibrate", "score", "--model", "{gpt}", *OWN, "--shots", "0", *words],
         code, parts)
        for name, words, code, parts in [
            ("no texts", ["--texts", "{tmp}/no.txt"], 1, ("no.txt", "check the path")),
            ("a folder", ["--texts", "{tmp}"], 1, ("IsADirectoryError",)),
            ("an empty file", ["--texts", "{tmp}/empty.txt"], 1, ("empty.txt without a text",)),
            ("tabs", ["--texts", "{tmp}/tabs.tsv"], 1, ("2 texts in line 1", "one tab")),
            ("a long text", ["--texts", "{tmp}/long.txt"], 1, ("text 1 is", "over")),
            ("a long text, dry", ["--texts", "{tmp}/long.txt", "--dry-run"], 1, ("text 1 is",)),
            ("two masks", ["--model", "{bert}", "--texts", "{tmp}/mask.txt"], 1,
             ("text 1 with 2 masks",)),
            ("out exists", ["--out", "{tmp}"], 1, ("exists", "--force")),
            ("not ours", ["--out", "{tmp}", "--force"], 1, ("result.json",)),
            ("store inside", ["--out", "{tmp}/o", "--store", "{tmp}/o/s"], 2, ("beside",)),
        ]
    ],
    *[
        (f"fit: {name}", ["calibrate", "fit", "--model", "{gpt}", *OWN, "--shots", "0", *words],
         code, parts)
        for name, words, code, parts in [
            ("no place", [], 2, ("--out",)),
            ("method", ["--method", "magic", "--out", "{tmp}/o"], 1, ("method='magic'",)),
            ("nothing written", ["--method", "generative", "--generated", "0", "--out", "{tmp}/o"],
             1, ("texts that the model wrote", "batch")),
            ("does not write", ["--model", "{bert}", "--method", "generative", "--out", "{tmp}/o"],
             1, ("masked language model does not write",)),
            ("out exists", ["--out", "{tmp}"], 1, ("exists", "--force")),
            ("not ours", ["--out", "{tmp}", "--force"], 1, ("classifier.json",)),
            ("store inside", ["--out", "{tmp}/o", "--store", "{tmp}/o/s"], 2, ("beside",)),
        ]
    ],
    *[
        (f"predict: {name}", ["calibrate", "predict", *words], code, parts)
        for name, words, code, parts in [
            ("no text", ["{kept}"], 2, ("no text", "--texts")),
            ("two sources", ["{kept}", "--text", "a", "--texts", "f"], 2, ("--text and --texts",)),
            ("pair", ["{kept}", "--text", "a", "--pair", "b"], 2, ("single texts", "leave")),
            ("no file", ["{kept}", "--texts", "{tmp}/no.txt"], 1, ("no.txt",)),
            ("tabs", ["{kept}", "--texts", "{tmp}/tabs.tsv"], 1, ("2 texts in line 1",)),
            ("model", ["{kept}", "--text", "a"], 1, ("tiny-gpt, the model of kept", "--model")),
            ("no model", ["{kept}", "--text", "a", "--model", "no-such"], 1, ("no-such", "spell")),
            ("another", ["{kept}", "--text", "a", "--model", "{bert}"], 1,
             ("tiny-bert with fingerprint", "for which it was calibrated")),
            ("type", ["{kept}", "--text", "a", "--model", "{gpt}", "--dtype", "float64"], 1,
             ("for which it was calibrated",)),
            ("long text", ["{kept}", "--model", "{gpt}", "--texts", "{tmp}/long.txt"], 1,
             ("text 1 is",)),
            ("nothing", ["{tmp}", "--text", "a"], 1, ("no classifier", "classifier.json")),
            ("half", ["{half}", "--text", "a"], 1, ("no classifier", "calibrator.json")),
        ]
    ],
    *[
        (f"robustness: {name}", ["calibrate", "robustness", "--model", "{gpt}", *OWN, *words],
         code, parts)
        for name, words, code, parts in [
            ("axis", ["--axes", "order,luck"], 1, ("axes='luck'", "estimate-size")),
            ("generative", ["--methods", "generative"], 1, ("leave generative out",)),
            ("seeds", ["--seeds", "0"], 2, ("--seeds",)),
            ("orders", ["--orders", "0"], 2, ("--orders",)),
            ("leading", ["--leading", "2", "--dry-run"], 1, ("leading=2", "0 to 1")),
            ("nothing left", ["--axes", "order", "--shots", "0"], 1, ("order: 0 demonstrations",)),
            ("few rows", ["--axes", "proportion", "--dry-run"], 1, ("8 demonstrations",)),
        ]
    ],
    *[
        (f"harness: {name}", ["calibrate", "harness", "{tmp}/" + file, *words], code, parts)
        for name, file, words, code, parts in [
            ("no file", "no.jsonl", [], 1, ("no.jsonl", "--log_samples")),
            ("a folder", "", [], 1, ("no file",)),
            ("empty", "empty.txt", [], 1, ("the file is empty",)),
            ("cut", "cut.jsonl", [], 1, ("line 6",)),
            ("odd", "odd.jsonl", [], 1, ("line 1: arguments that are no pairs",)),
            ("few", "few.jsonl", [], 1, ("3 documents", "more documents")),
            ("no targets", "untold.jsonl", [], 1, ("0 known labels",)),
            ("other choices", "samples.jsonl", ["--estimate", "{tmp}/other.jsonl"], 1,
             ("choices a, b", "same task")),
            ("itself", "samples.jsonl", ["--estimate", "{tmp}/samples.jsonl"], 2, ("judged by",)),
            ("no estimate", "samples.jsonl", ["--estimate", "{tmp}/no"], 1, ("no file",)),
            ("method", "samples.jsonl", ["--methods", "magic"], 1, ("methods='magic'",)),
            ("no premise", "samples.jsonl", ["--methods", "pmi"], 1, ("none were given",)),
            ("picture", "samples.jsonl", ["--plot", "p.gif"], 2, ("p.gif", ".png")),
            ("out exists", "samples.jsonl", ["--out", "{tmp}"], 1, ("exists", "--force")),
            ("inside", "samples.jsonl", ["--out", "{tmp}/o", "--plot", "{tmp}/o/p.png"], 2,
             ("beside",)),
        ]
    ],
    ("tasks: unknown", ["calibrate", "tasks", "sst9"], 1, ("'sst9'", "template file")),
]  # fmt: skip
