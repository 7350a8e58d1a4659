"""Every command, fed what it cannot take: one clear message on stderr, no traceback."""

import errno
import re
from pathlib import Path

import pytest
import typer

from bad_input import bad_models
from bad_input.attention_commands import ATTENTION_COMMANDS
from bad_input.calibration_commands import CALIBRATION_COMMANDS, CALIBRATION_FILES, kept_places
from bad_input.electra_commands import ELECTRA_COMMANDS, ELECTRA_FILES, trained_pair
from bad_input.lab import PROMPT, Lab
from bad_input.landscape_commands import LANDSCAPE_COMMANDS, LANDSCAPE_FILES, saved_landscapes
from cli import tiny
from vesalius.cli.main import app
from vesalius.core.errors import VesaliusError
from vesalius.data.labelled import load_labelled
from vesalius.methods.attention_attribution import head_importance
from vesalius.models import open as open_model

GROUPS = ("neurons", "attention", "calibrate", "landscape", "pretrain", "electra", "zoo", "data")
ASKED = ("--prompt", PROMPT, "--answer", "Paris")
TOLD = (*ASKED, "--to", "London")

# (what is wrong; the words of the command; exit code; parts of the message)
COMMANDS: list[tuple[str, list[str], int, tuple[str, ...]]] = [
    ("unknown model", ["check", "no-such/model"], 1, ("no-such/model", "spelling")),
    ("no weights", ["check", "{no_weights}"], 1, ("without weights", "save_pretrained")),
    ("pickle", ["check", "{only_a_pickle}"], 1, ("pickle", "save_pretrained")),
    ("no head", ["check", "{no_head}"], 1, ("without a head",)),
    ("experts", ["check", "{experts}"], 1, ("mixture-of-experts", "dense model")),
    ("own code", ["check", "{own_code}"], 1, ("own Python code", "live model")),
    ("NaN", ["check", "{not_a_number}"], 1, ("NaN", "another checkpoint")),
    ("dtype", ["check", "{bert}", "--dtype", "int3"], 1, ("int3", "float32")),
    ("device", ["check", "{bert}", "--device", "abacus"], 1, ("abacus", "cpu")),
    ("demo: nothing known", ["demo", "--model", "{gpt}", "--out", "{tmp}/d"], 1, ("answers none",)),
    ("demo: out exists", ["demo", "--model", "{bert}", "--out", "{tmp}"], 1, ("exists", "--force")),
    ("cite: unknown", ["cite", "phrenology"], 1, ("phrenology",)),
    ("cite: no result", ["cite", "{tmp}"], 1, ("result.json",)),
    ("zoo: unknown", ["zoo", "train", "maxi-bert", "--data", "{tmp}", "--out", "{tmp}/o"], 1,
     ("maxi-bert", "mini-bert")),
    ("zoo: no data", ["zoo", "train", "mini-bert", "--data", "{tmp}", "--out", "{tmp}/o"], 1,
     ("facts/*.parquet",)),
    *[
        (f"zoo: {flag}", ["zoo", "train", "mini-bert", "--data", "{tmp}", "--out", "{tmp}/o",
         f"--{flag}", "{tmp}/none"], 2, (f"--{flag}",))
        for flag in ("tokenizer", "notes")
    ],
    ("zoo: no data named", ["zoo", "train", "mini-bert"], 2, ("--data",)),
    *[
        (f"{verb}: {name}", ["neurons", verb, "--model", "{bert}", *words], code, parts)
        for verb in ("locate", "suppress", "amplify")
        for name, words, code, parts in [
            ("no question", [], 2, ("no question", "--prompt")),
            ("two questions", [*ASKED, "--relation", "P36"], 2, ("--prompt and --relation",)),
            ("no answer", ["--prompt", PROMPT], 2, ("--prompt without --answer",)),
            ("subject with prompt", [*ASKED, "--subject", "France"], 2, ("--subject",)),
            ("no subject", ["--relation", "P36"], 2, ("without --subject",)),
            ("facts and answer", ["--facts", "f.tsv", "--answer", "Paris"], 2, ("--answer",)),
            ("facts and plot", ["--facts", "f.tsv", "--plot", "p.png"], 2, ("--plot",)),
            ("picture", [*ASKED, "--plot", "p.gif"], 2, ("p.gif", ".png")),
            ("unknown relation", ["--relation", "P0", "--subject", "a"], 1, ("P0", "P36")),
            ("unknown subject", ["--relation", "P36", "--subject", "Frnce"], 1, ("France",)),
            ("no file", ["--facts", "{tmp}/no.tsv"], 1, ("no.tsv", "spelling")),
            ("empty text", ["--prompt", " ", "--answer", "Paris"], 1, ("empty text",)),
            ("no mask", ["--prompt", "Paris", "--answer", "Paris"], 1, ("0 masks",)),
            ("two masks", ["--prompt", "[MASK] [MASK]", "--answer", "Paris"], 1, ("2 masks",)),
            ("answer", ["--prompt", PROMPT, "--answer", "Parisian"], 1, ("Parisian", "one-token")),
            ("share", [*ASKED, "--share", "2"], 1, ("share=2",)),
            ("threshold", [*ASKED, "--threshold", "0"], 1, ("coarse_threshold=0",)),
            ("rule", [*ASKED, "--rule", "simpson"], 1, ("simpson", "gauss_legendre")),
            ("nodes", [*ASKED, "--nodes", "0"], 1, ("num_nodes=0",)),
            ("memory", [*ASKED, "--memory", "much"], 1, ("much", "2GiB")),
            ("target", [*ASKED, "--target", "fame"], 1, ("fame", "probability")),
            ("foil", [*ASKED, "--foil", "Rome"], 1, ("with a foil",)),
            ("out exists", [*ASKED, "--out", "{tmp}"], 1, ("exists", "--force")),
            ("page exists", [*ASKED, "--html", "{tmp}/mine.txt"], 1, ("exists", "--force")),
            ("not ours", [*ASKED, "--out", "{tmp}", "--force"], 1, ("result.json",)),
        ]
    ],
    *[
        (f"suppress: {name}", ["neurons", "suppress", "--model", "{bert}", *words], code, parts)
        for name, words, code, parts in [
            ("neurons", [*ASKED, "--neurons", "3-4"], 2, ("3-4", "3:117")),
            ("neuron range", [*ASKED, "--neurons", "0:24"], 1, ("neuron 24",)),
            ("two sources", [*ASKED, "--neurons", "0:1", "--location", "f"], 2, ("--location",)),
            ("asked twice", [*ASKED, "--location", "f"], 2, ("--location and a question",)),
            ("page", [*ASKED, "--neurons", "0:1", "--html", "h"], 2, ("--neurons with --html",)),
            ("location", ["--location", "{tmp}"], 1, ("result.json",)),
            ("factor", [*ASKED, "--factor", "3"], 2, ("--factor 3", "--factor 0")),
            ("factor NaN", [*ASKED, "--factor", "nan"], 2, ("--factor nan",)),
            ("controls", [*ASKED, "--controls", "-1"], 2, ("--controls -1",)),
        ]
    ],
    ("amplify: factor", ["neurons", "amplify", *ASKED, "--factor", "0.5"], 2, ("--factor 2",)),
    ("words after the gap", ["neurons", "locate", "--model", "{gpt}", "--prompt", "[MASK] is.",
     "--answer", "Paris"], 1, ("words after the gap", "at the end")),
    ("sweep: two sources", ["neurons", "sweep", "--facts", "f.tsv", "--relation", "P36", "--out",
     "{tmp}/o"], 2, ("--facts and --relation",)),
    *[
        (f"update: {name}", ["neurons", "update", "--model", "{bert}", *words], code, parts)
        for name, words, code, parts in [
            ("no question", ["--to", "London"], 2, ("no question", "--location")),
            ("nothing to say", ASKED, 2, ("--to",)),
            ("two questions", [*TOLD, "--relation", "P36"], 2, ("--prompt and --relation",)),
            ("no subject", ["--relation", "P36", "--to", "London"], 2, ("without --subject",)),
            ("method", [*TOLD, "--method", "luck"], 2, ("--method luck", "rank-one")),
            ("layer", [*TOLD, "--layer", "1"], 2, ("--method slots with --layer",)),
            ("lambda", [*TOLD, "--method", "rank-one", "--lambda-old", "1"], 2, ("--lambda-old",)),
            ("shared", [*TOLD, "--max-shared", "0.2"], 2, ("--max-shared alone", "--sweep")),
            ("two sources", ["--location", "f", "--neurons", "0:1", "--to", "London"], 2,
             ("--location with --neurons",)),
            ("neurons", [*TOLD, "--neurons", "3-4"], 2, ("3-4",)),
            ("one folder", [*TOLD, "--out", "{tmp}/o", "--checkpoint", "{tmp}/o"], 2, ("two",)),
            ("inside", [*TOLD, "--out", "{tmp}/o", "--checkpoint", "{tmp}/o/m"], 2, ("beside",)),
            ("location", ["--location", "{tmp}", "--to", "London"], 1, ("result.json",)),
            ("out exists", [*TOLD, "--out", "{tmp}"], 1, ("exists", "--force")),
            ("checkpoint exists", [*TOLD, "--checkpoint", "{tmp}"], 1, ("exists", "--force")),
            ("not ours", [*TOLD, "--checkpoint", "{tmp}", "--force"], 1, ("vesalius_edit.json",)),
            ("same word", [*ASKED, "--to", "Paris"], 1, ("same tokens",)),
            ("several tokens", [*ASKED, "--to", "Londoni"], 1, ("cuts into", "one-token")),
            ("no sweep", [*TOLD, "--sweep", "{tmp}"], 1, ("manifest.json",)),
            ("lambda NaN", [*TOLD, "--lambda-new", "nan"], 1, ("weight_new=nan",)),
            ("subject", [*TOLD, "--method", "rank-one", "--subject", "Japan"], 1, ("'Japan'",)),
        ]
    ],
    *[
        (f"erase: {name}", ["neurons", "erase", "--model", "{bert}", *words], code, parts)
        for name, words, code, parts in [
            ("no relation", [], 2, ("--relation",)),
            ("relation", ["--relation", "P0"], 1, ("P0", "P36")),
            ("no sweep", ["--relation", "P36", "--sweep", "{tmp}"], 1, ("manifest.json",)),
            ("share", ["--relation", "P36", "--min-answered", "2"], 1, ("min_answered=2",)),
            ("count", ["--relation", "P36", "--count", "0"], 2, ("--count",)),
            ("out exists", ["--relation", "P36", "--out", "{tmp}"], 1, ("exists", "--force")),
        ]
    ],
    ("judge: no edit", ["neurons", "judge", "{tmp}"], 1, ("result.json",)),
    ("judge: controls", ["neurons", "judge", "{tmp}", "--controls", "-1"], 2, ("--controls -1",)),
    ("sweep: no facts", ["neurons", "sweep", "--facts", "{tmp}/no.tsv", "--out", "{tmp}/o"], 1,
     ("no.tsv", "spelling")),
    ("sweep: empty folder", ["neurons", "sweep", "--facts", "{tmp}", "--out", "{tmp}/o"], 1,
     ("no table of facts", "facts.tsv")),
    ("sweep: only", ["neurons", "sweep", "--only", "in_kn", "--out", "{tmp}/o"], 2, ("--only",)),
    ("sweep: relation", ["neurons", "sweep", "--relation", "P0", "--out", "{tmp}/o"], 2,
     ("P0", "P36")),
    ("statistics: no sweep", ["neurons", "statistics", "{tmp}"], 1, ("manifest.json",)),
    ("activations: no texts", ["neurons", "activations", "--neurons", "0:1"], 2, ("--texts",)),
    ("activations: no neurons", ["neurons", "activations", "--texts", "t.txt"], 2, ("--location",)),
    ("zoo verify: unknown", ["zoo", "verify", "maxi-bert"], 1, ("maxi-bert", "mini-bert")),
    ("finetune: seeds", ["finetune", "--seeds", "a", "--out", "{tmp}/o"], 2, ("--seeds a",)),
    ("finetune: no file", ["finetune", "{bert}", "--data", "{tmp}/no.csv", "--out", "{tmp}/o"], 1,
     ("no.csv",)),
    ("data prepare: no file", ["data", "prepare", "{tmp}/no.txt", "--tokenizer", "{bert}", "--out",
     "{tmp}/o"], 1, ("no.txt",)),
    *ATTENTION_COMMANDS,
    *CALIBRATION_COMMANDS,
    *LANDSCAPE_COMMANDS,
    *ELECTRA_COMMANDS,
    ("data info: no shards", ["data", "info", "{tmp}"], 1, ("manifest",)),
]  # fmt: skip


FILES: dict[str, str | bytes] = {
    "mine.txt": "mine",
    "empty.txt": "\n \n",
    "tabs.tsv": "Paris is\ta city\n\nRome\n",
    "mail.tsv": "text\tlabel\na\tham\nb\tspam\nc\tham\na b\tspam\nb c\tham\na c\tspam\n",
    **CALIBRATION_FILES,
    **LANDSCAPE_FILES,
    **ELECTRA_FILES,
}


@pytest.fixture(scope="session")
def given(
    tmp_path_factory: pytest.TempPathFactory,
    classifier_folder: Path,
    pair_folder: Path,
    gpt_folder: Path,
    bert_folder: Path,
    opinions: Path,
) -> dict[str, Path]:
    """Places that no row writes to: classifiers, labelled texts, and what was found with them."""
    dev = load_labelled(opinions).splits["dev"]
    found = head_importance(open_model(classifier_folder), dev.texts, baselines=())
    return {
        "clf": classifier_folder,
        "pairs": pair_folder,
        "opinions": opinions,
        "heads": found.save(tmp_path_factory.mktemp("results") / "heads"),
        **kept_places(open_model(gpt_folder), tmp_path_factory.mktemp("calibration")),
        **saved_landscapes(tmp_path_factory.mktemp("landscapes")),
        **trained_pair(tmp_path_factory.mktemp("pretraining"), bert_folder),
        **_other_classifiers(tmp_path_factory.mktemp("others")),
    }


def _other_classifiers(folder: Path) -> dict[str, Path]:
    """A start of the classifier, and a training whose second checkpoint has another head."""
    start = tiny.classifier("negative", "positive")
    for parameter in start.parameters():
        parameter.data *= 0.9
    tiny.save(start, folder / "training" / "step-0")
    tiny.save(tiny.classifier("no", "maybe", "yes"), folder / "training" / "step-5")
    return {"other_clf": folder / "training" / "step-0", "strange": folder / "training"}


@pytest.mark.parametrize(
    ("words", "code", "parts"), [row[1:] for row in COMMANDS], ids=[row[0] for row in COMMANDS]
)
def test_a_command_answers_on_stderr(
    lab: Lab,
    run: tiny.Run,
    given: dict[str, Path],
    words: list[str],
    code: int,
    parts: tuple[str, ...],
):
    for name, text in FILES.items():
        lab.file(name, text)
    places = {"tmp": lab.tmp, "bert": lab.bert_folder, "gpt": lab.gpt_folder, **given}
    for name in bad_models.FOLDERS.keys() & set(re.findall(r"{(\w+)}", " ".join(words))):
        places[name] = lab.folder(name)
    before = sorted(lab.tmp.rglob("*"))
    ran = run(*(word.format(**places) for word in words))
    assert (ran.code, ran.out) == (code, "")
    for part in parts:
        assert part in ran.err
    assert "Traceback" not in ran.err
    assert "a fault of ours" not in ran.err
    assert len(ran.err.splitlines()) <= 8
    assert sorted(lab.tmp.rglob("*")) == before  # nothing half-written


def test_debug_shows_where_a_mistake_was_found(run: tiny.Run, bert_folder: Path):
    with pytest.raises(VesaliusError):
        run("neurons", "locate", "--model", bert_folder, *ASKED, "--share", 2, "--debug")


@pytest.mark.parametrize("flag", ["--out", "--html", "--plot"])
def test_a_full_disk_leaves_nothing_behind(
    lab: Lab, run: tiny.Run, monkeypatch: pytest.MonkeyPatch, flag: str
):
    def full(self: Path, *_: object, **__: object) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    before = sorted(lab.tmp.rglob("*"))
    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(Path, "write_text", full)
    ran = run("neurons", "locate", "--model", lab.bert_folder, *ASKED, flag, lab.tmp / "out.png")
    assert (ran.code, ran.out) == (1, "")
    assert "No space left" in ran.err
    assert "free some space" in ran.err
    assert sorted(lab.tmp.rglob("*")) == before


def test_every_command_is_in_the_table():
    tree = typer.main.get_command(app)
    names = {
        (name, inner)
        for name, command in tree.commands.items()
        for inner in getattr(command, "commands", {"": None})
    }
    fed = {(words[0], words[1] if words[0] in GROUPS else "") for _, words, *_ in COMMANDS}
    # these take nothing that could be wrong
    assert names - fed == {("models", ""), ("zoo", "list")}
