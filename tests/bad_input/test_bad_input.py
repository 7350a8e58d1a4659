"""Every public function and every command, fed what it cannot take: one clear message each."""

import errno
import inspect
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vesalius
from bad_input import bad_models
from cli import tiny
from vesalius.core import cite, paths, result
from vesalius.core.errors import VesaliusError
from vesalius.data import corpus, facts, masking, select, tokenizer
from vesalius.methods import knowledge_neurons as kn
from vesalius.models import (
    PartsRule,
    SlotEdit,
    Specimen,
    answer_ids,
    check,
    encode_prompts,
    encode_texts,
    parts,
    register_parts,
    slots_edited,
    zoo,
)
from vesalius.models import open as open_model

PROMPT = "The capital of France is [MASK]."
ASKED = ("--prompt", PROMPT, "--answer", "Paris")


@dataclass(frozen=True, kw_only=True)
class Lab:
    """What the rows below work with."""

    bert: Specimen
    gpt: Specimen
    bert_folder: Path
    gpt_folder: Path
    tmp: Path

    def folder(self, name: str) -> Path:
        return bad_models.make(name, self.tmp)

    def file(self, name: str, text: str | bytes) -> Path:
        path = self.tmp / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def located(self) -> kn.Location:
        return kn.locate(self.bert, PROMPT, "Paris")

    def turned(self) -> kn.Intervention:
        return kn.suppress(self.bert, PROMPT, "Paris", [(0, 1)], num_controls=1)

    def edit(self, layer: int, neurons: list[int], shape: tuple[int, ...], fill: float = 0) -> None:
        values = torch.full(shape, fill)
        edit = SlotEdit(neurons=torch.tensor(neurons), values=values)
        with slots_edited(self.bert, {layer: edit}):
            raise AssertionError("a wrong edit was let in")

    def quantised(self) -> None:
        model = tiny.masked_lm()
        layer = model.bert.encoder.layer[0].output.dense
        layer.weight = nn.Parameter(layer.weight.data.to(torch.int8), requires_grad=False)
        edit = SlotEdit(neurons=torch.tensor([0]), values=torch.zeros(1, 16))
        with slots_edited(replace(self.bert, model=model), {0: edit}):
            raise AssertionError("quantised weights were edited")

    def no_mask_token(self) -> Specimen:
        words = tiny.tokenizer()
        words.mask_token = None
        return replace(self.bert, tokenizer=words)


@pytest.fixture(scope="session")
def specimens(bert_folder: Path, gpt_folder: Path) -> tuple[Specimen, Specimen]:
    return open_model(bert_folder), open_model(gpt_folder)


@pytest.fixture
def lab(
    tmp_path: Path,
    bert_folder: Path,
    gpt_folder: Path,
    specimens: tuple[Specimen, Specimen],
    as_users_call_it: None,
) -> Lab:
    return Lab(
        bert=specimens[0],
        gpt=specimens[1],
        bert_folder=bert_folder,
        gpt_folder=gpt_folder,
        tmp=tmp_path,
    )


@pytest.fixture(autouse=True)
def forget_rules() -> Any:
    known = dict(parts._RULES)
    yield
    parts._RULES.clear()
    parts._RULES.update(known)


Call = Callable[[Lab], object]
L = vesalius.neurons.LocateConfig

# (name: the public name it covers, and what is wrong; the call; parts of `given` and of `fix`)
ROWS: list[tuple[str, Call, str, str]] = [
    ("open: unknown name", lambda _: open_model("no-such/model"), "no-such/model", "spelling"),
    ("open: not a name", lambda _: open_model("what is this?"), "what is this?", "spelling"),
    ("open: empty name", lambda _: open_model(""), "model ''", "mini-bert"),
    ("open: empty folder", lambda x: open_model(x.folder("nothing")), "without a config", "save_"),
    ("open: no weights", lambda x: open_model(x.folder("no_weights")), "without weights", "save_"),
    ("open: pickle", lambda x: open_model(x.folder("only_a_pickle")), "pickle", "save_pretrained"),
    ("open: no head", lambda x: open_model(x.folder("no_head")), "without a head", "task="),
    ("open: an untrained head", lambda x: open_model(x.folder("no_head"), task="masked-lm"),
     "no weights for", "task="),
    ("open: no tokenizer", lambda x: open_model(x.folder("no_tokenizer")), "no vocabul", "save_"),
    ("open: broken weights", lambda x: open_model(x.folder("broken_weights")), "cannot be", "copy"),
    ("open: broken config", lambda x: open_model(x.folder("broken_config")), "cannot be", "copy"),
    ("open: NaN", lambda x: open_model(x.folder("not_a_number")), "NaN", "another checkpoint"),
    ("open: own code", lambda x: open_model(x.folder("own_code")), "own Python code", "live model"),
    ("open: dtype", lambda x: open_model(x.bert_folder, dtype="int3"), "dtype='int3'", "float32"),
    ("open: device", lambda x: open_model(x.bert_folder, device="abacus"), "abacus", "cpu"),
    ("open: task", lambda x: open_model(x.bert_folder, task="chess"), "chess", ""),
    ("open: live without head", lambda _: open_model(nn.Linear(2, 2)), "no language-model", "Auto"),
    ("zoo.path: unknown", lambda _: zoo.path("maxi-bert"), "maxi-bert", ""),
    ("zoo.card: unknown", lambda _: zoo.card("maxi-bert"), "maxi-bert", ""),
    ("Specimen: experts", lambda x: open_model(x.folder("experts")).parts, "mixture-of-", "dense"),
    ("Specimen: unknown parts", lambda _: bad_models.homemade().parts, "no Transformer block",
     "register_parts"),
    ("check: experts", lambda x: check(open_model(x.folder("experts"))), "mixture-of-exp", "dense"),
    ("check: unknown parts", lambda _: check(bad_models.homemade()), "no Transformer block",
     "register_parts"),
    ("encode_prompts: none", lambda x: encode_prompts(x.bert, []), "no prompts", "pass"),
    ("encode_prompts: empty", lambda x: encode_prompts(x.bert, ["  "]), "empty text", "[MASK]"),
    ("encode_prompts: no mask", lambda x: encode_prompts(x.bert, ["Paris"]), "0 masks", "one gap"),
    ("encode_prompts: two", lambda x: encode_prompts(x.bert, ["[MASK] [MASK]"]), "2 masks", "gap"),
    ("encode_prompts: after the gap", lambda x: encode_prompts(x.gpt, ["[MASK] is a city"]),
     "words after the gap", "at the end"),
    ("encode_prompts: only a gap", lambda x: encode_prompts(x.gpt, ["[MASK]"]), "empty text", ""),
    ("encode_prompts: too long", lambda x: encode_prompts(x.bert, ["a " * 40 + "[MASK]"]),
     "tokens", "shorten"),
    ("encode_prompts: no mask token", lambda x: encode_prompts(x.no_mask_token(), [PROMPT]),
     "without a mask token", "mask_token"),
    ("encode_prompts: no tokenizer", lambda x: encode_prompts(replace(x.bert, tokenizer=None),
     [PROMPT]), "without a tokenizer", "tokenizer="),
    ("encode_texts: none", lambda x: encode_texts(x.bert, []), "no texts", ""),
    ("encode_texts: empty", lambda x: encode_texts(x.bert, [""]), "empty text", ""),
    ("answer_ids: pieces", lambda x: answer_ids(x.bert, ["Parisian"]), "Parisian", "one-token"),
    ("answer_ids: unknown", lambda x: answer_ids(x.bert, ["%"]), "%", "one-token"),
    ("answer_ids: two words", lambda x: answer_ids(x.bert, ["a b"]), "a b", "one-token"),
    ("answer_ids: empty", lambda x: answer_ids(x.bert, [""]), "empty", ""),
    ("slots_edited: layer", lambda x: x.edit(9, [0], (1, 16)), "layer 9", "from 0"),
    ("slots_edited: neuron", lambda x: x.edit(0, [24], (1, 16)), "[24]", "locate"),
    ("slots_edited: twice", lambda x: x.edit(0, [1, 1], (2, 16)), "[1, 1]", "locate"),
    ("slots_edited: shape", lambda x: x.edit(0, [1], (1, 15)), "(1, 15)", "value_slots"),
    ("slots_edited: NaN", lambda x: x.edit(0, [1], (1, 16), torch.nan), "value slots", "value_"),
    ("slots_edited: quantised", lambda x: x.quantised(), "int8", "quantisation"),
    ("locate: no mask", lambda x: kn.locate(x.bert, "Paris", "Paris"), "0 masks", "one gap"),
    ("locate: answer", lambda x: kn.locate(x.bert, PROMPT, "Parisian"), "Parisian", "one-token"),
    ("locate: foil", lambda x: kn.locate(x.bert, PROMPT, "Paris", foil="Rome"), "with a foil", ""),
    ("locate: no foil", lambda x: kn.locate(x.bert, PROMPT, "Paris",
     config=L(target="logit-difference")), "without a foil", ""),
    ("locate: target", lambda x: kn.locate(x.bert, PROMPT, "Paris", config=L(target="fame")),
     "target='fame'", "probability"),
    ("locate: experts", lambda x: kn.locate(open_model(x.folder("experts")), PROMPT, "Paris"),
     "mixture-of-experts", "dense"),
    ("LocateConfig: share", lambda _: L(share=1.5), "share=1.5", "0.7"),
    ("LocateConfig: share zero", lambda _: L(share=0), "share=0", "0.7"),
    ("LocateConfig: threshold", lambda _: L(coarse_threshold=-1), "coarse_threshold=-1", "0.7"),
    ("LocateConfig: NaN", lambda _: L(coarse_threshold=float("nan")), "coarse_threshold=nan", ""),
    ("LocateConfig: rule", lambda _: L(rule="simpson"), "rule='simpson'", "gauss_legendre"),
    ("LocateConfig: nodes", lambda _: L(num_nodes=0), "num_nodes=0", "num_nodes=5"),
    ("LocateConfig: memory", lambda _: L(memory="much"), "memory='much'", "2GiB"),
    ("LocateConfig: no memory", lambda _: L(memory="0"), "memory='0'", "2GiB"),
    ("LocateConfig: neurons", lambda _: L(min_neurons=6), "min_neurons=6", "2 and 5"),
    ("coarse_set: threshold", lambda _: kn.coarse_set(np.ones((1, 2)), threshold=7),
     "threshold=7", "0.7"),
    ("coarse_set: NaN", lambda _: kn.coarse_set(np.array([[np.nan]])), "NaN", "float32"),
    ("refine: share", lambda _: kn.refine([frozenset({(0, 1)})], share=2), "share=2", "0.7"),
    ("search_share: no facts", lambda _: kn.search_share([]), "no coarse sets", "locate"),
    ("search_share: no prompts", lambda _: kn.search_share([[]]), "no coarse sets", "locate"),
    ("search_share: start", lambda _: kn.search_share([[frozenset()]], start=3), "share=3", "0.7"),
    ("suppress: none", lambda x: kn.suppress(x.bert, PROMPT, "Paris", []), "no neurons", "locate"),
    ("suppress: layer", lambda x: kn.suppress(x.bert, PROMPT, "Paris", [(2, 0)]), "layer 2", "0"),
    ("suppress: negative", lambda x: kn.suppress(x.bert, PROMPT, "Paris", [(0, -1)]), "-1", "0"),
    ("amplify: neuron", lambda x: kn.amplify(x.bert, PROMPT, "Paris", [(0, 24)]), "neuron 24", "0"),
    ("amplify: most of a layer", lambda x: kn.amplify(x.bert, PROMPT, "Paris",
     [(0, i) for i in range(20)]), "20 of the 24", "fewer"),
    ("intervene: factor", lambda x: kn.intervene(x.bert, PROMPT, "Paris", [(0, 0)],
     factor=float("inf")), "factor=inf", "factor=0"),
    ("intervene: controls", lambda x: kn.intervene(x.bert, PROMPT, "Paris", [(0, 0)], factor=0,
     num_controls=-1), "num_controls=-1", "factor=0"),
    ("scaling: neuron", lambda x: kn.scaling(x.bert, encode_prompts(x.bert, [PROMPT]), [(5, 0)],
     factor=0).__enter__(), "layer 5", "from 0"),
    ("Location: save on a folder", lambda x: x.located().save(x.tmp), "exists", "--force"),
    ("Location: page on a file", lambda x: x.located().to_html(x.file("a.html", "mine")), "exists",
     "--force"),
    ("Location: load nothing", lambda x: kn.Location.load(x.tmp), "result.json", "save()"),
    ("Location: load another", lambda x: kn.Location.load(x.turned().save(x.tmp / "i")),
     "knowledge_neurons.intervene", "load_result"),
    ("Intervention: save under a file", lambda x: x.turned().save(x.file("f", "") / "i"),
     "output path", "another"),
    ("Intervention: load nothing", lambda x: kn.Intervention.load(x.tmp / "no"), "no", "save()"),
    ("load_result: damaged", lambda x: result.load_result(x.file("result.json", "{").parent),
     "Expecting", "save()"),
    ("new_folder: no folder", lambda x: paths.check_new_output(x.file("f", "") / "out"), "out",
     "another"),
    ("cite: unknown", lambda _: cite.cite("phrenology"), "phrenology", "method"),
    ("prompts_for: relation", lambda _: facts.prompts_for(
        facts.Fact(relation="P0", subject="a", answer="b"), mask_token="[MASK]"), "P0", "pass"),
    ("read_facts: no file", lambda x: facts.read_facts(x.tmp / "no.tsv"), "no.tsv", "spelling"),
    ("read_facts: a folder", lambda x: facts.read_facts(x.tmp), "", "spelling"),
    ("read_facts: ending", lambda x: facts.read_facts(x.file("f.csv", "a")), "f.csv", ".jsonl"),
    ("read_facts: bytes", lambda x: facts.read_facts(x.file("f.tsv", b"\xff")), "f.tsv", "UTF-8"),
    ("read_facts: empty", lambda x: facts.read_facts(x.file("f.tsv", "")), "no facts", "a line"),
    ("read_facts: json", lambda x: facts.read_facts(x.file("f.jsonl", "{}\n{")), "line 1", ""),
    ("read_facts: half a line", lambda x: facts.read_facts(x.file("f.jsonl", "{")), "line 1", "P3"),
    ("read_facts: a list", lambda x: facts.read_facts(x.file("f.jsonl", "[1]")), "line 1", ""),
    ("read_facts: no answer", lambda x: facts.read_facts(
        x.file("f.tsv", "relation\tsubject\tanswer\nP36\tPeru")), "line 2", "complete the line"),
    ("natural_sentences: no data", lambda x: corpus.natural_sentences(
        x.tmp, facts=facts.load_facts()[:1]), "{tmp}", "--data"),
]  # fmt: skip

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
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "given", "fix"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_function_answers_with_one_clear_message(lab: Lab, call: Call, given: str, fix: str):
    with pytest.raises(VesaliusError) as caught:
        call(lab)
    error = caught.value
    assert given.format(tmp=lab.tmp) in error.given
    assert fix in error.fix
    assert all((error.given, error.expected, error.fix))


@pytest.mark.parametrize(
    ("words", "code", "parts"), [row[1:] for row in COMMANDS], ids=[row[0] for row in COMMANDS]
)
def test_a_command_answers_on_stderr(
    lab: Lab, run: tiny.Run, words: list[str], code: int, parts: tuple[str, ...]
):
    lab.file("mine.txt", "mine")
    places = {"tmp": lab.tmp, "bert": lab.bert_folder, "gpt": lab.gpt_folder}
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


def test_a_registered_rule_finds_the_parts_of_an_unknown_architecture():
    rule = PartsRule(block_class="HomemadeBlock", feed_forward="down", attentions=("mixer",))
    register_parts("homemade", rule)
    found = bad_models.homemade().parts
    assert [block.name for block in found.blocks] == ["blocks.0", "blocks.1"]
    assert [block.feed_forward.num_inputs for block in found.blocks] == [12, 12]
    assert found.blocks[0].attentions[0].name == "blocks.0.mixer"


def test_a_damaged_result_is_told_from_a_missing_one(lab: Lab):
    folder = lab.located().save(lab.tmp / "located")
    head = json.loads((folder / "result.json").read_text("utf-8"))
    head["fields"]["answer"] = 3
    (folder / "result.json").write_text(json.dumps(head), "utf-8")
    with pytest.raises(VesaliusError, match="answer"):
        kn.Location.load(folder)
    shutil.copytree(folder, lab.tmp / "newer")
    (lab.tmp / "newer" / "result.json").write_text(json.dumps(head | {"schema_version": 99}))
    with pytest.raises(VesaliusError, match="upgrade"):
        kn.Location.load(lab.tmp / "newer")


# Public names that no row needs, each with the reason.
NOTHING_TO_REFUSE = {
    "MASK": "a word",
    "Batch": "made by the encode functions, which check",
    "CheckReport": "made by check",
    "PartsRule": "three names; register_parts and the parts finder judge them",
    "register_parts": "keeps a rule; the parts finder judges it",
    "SlotEdit": "judged by slots_edited",
    "Guess": "made by the verbs",
    "Fact": "three texts; the functions that take it judge them",
    "Relation": "texts; prompts_for judges them",
    "neurons": "the module of the verbs, whose names are rows of their own",
    "zoo": "a module: its functions are rows",
    "__version__": "a text",
}


def public_names() -> set[str]:
    """What a user may call: the __all__ lists, and functions of data that raise VesaliusError."""
    names = {*vesalius.__all__, *vesalius.models.__all__, *kn.__all__}
    names |= {f"zoo.{name}" for name in ("path", "card")}
    for module in (corpus, facts, masking, select, tokenizer):
        names |= _functions_that_refuse(module)
    return names


def _functions_that_refuse(module: ModuleType) -> set[str]:
    return {
        name
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and "VesaliusError" in inspect.getsource(function)
    }


def test_every_public_name_is_in_the_table():
    covered = {row[0].partition(":")[0] for row in ROWS}
    missing = public_names() - covered - NOTHING_TO_REFUSE.keys()
    assert not missing, "add a row to ROWS, or a reason to NOTHING_TO_REFUSE"
    assert not covered & NOTHING_TO_REFUSE.keys()
    assert {"prompts_for", "read_facts", "natural_sentences"} <= public_names()
    assert len({row[0] for row in ROWS}) == len(ROWS)
