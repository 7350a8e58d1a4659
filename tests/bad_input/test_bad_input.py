"""Every public function, fed what it cannot take: one clear message each."""

import inspect
import json
import shutil
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vesalius
from bad_input import bad_models
from bad_input.attention_rows import ATTENTION_REASONS, ATTENTION_ROWS
from bad_input.calibration_rows import CALIBRATION_REASONS, CALIBRATION_ROWS
from bad_input.electra_rows import ELECTRA_REASONS, ELECTRA_ROWS
from bad_input.lab import PROMPT, Call, Lab
from bad_input.landscape_rows import LANDSCAPE_REASONS, LANDSCAPE_ROWS
from vesalius.core import cite, paths, result
from vesalius.core.errors import VesaliusError
from vesalius.data import (
    corpus,
    facts,
    harness_samples,
    label_draws,
    label_sets,
    label_tasks,
    masking,
    prompt_files,
    select,
    tokenizer,
)
from vesalius.methods import knowledge_neurons as kn
from vesalius.methods.knowledge_neurons.edits import Edit, edited, write_checkpoint
from vesalius.methods.knowledge_neurons.erase import erase
from vesalius.methods.knowledge_neurons.rank_one import rank_one
from vesalius.methods.knowledge_neurons.update import update
from vesalius.models import (
    PartsRule,
    answer_ids,
    check,
    encode_prompts,
    encode_texts,
    parts,
    pruned,
    register_parts,
    zoo,
)
from vesalius.models import open as open_model
from vesalius.models.answers import encode_answers
from vesalius.models.specimen import Specimen


@pytest.fixture(autouse=True)
def forget_rules() -> Any:
    known = dict(parts._RULES)
    yield
    parts._RULES.clear()
    parts._RULES.update(known)


LABELLED = (harness_samples, label_draws, label_sets, label_tasks, prompt_files)
L = vesalius.neurons.LocateConfig
HOMEMADE = PartsRule(block_class="HomemadeBlock", feed_forward="down", attentions=("mixer",))


def misled() -> Specimen:
    register_parts("homemade", replace(HOMEMADE, feed_forward="nope"))
    return bad_models.homemade()


# (name: the public name it covers, and what is wrong; the call; parts of `given` and of `fix`)
ROWS: list[tuple[str, Call, str, str]] = [
    ("train_bpe_tokenizer: no room for the bytes",
     lambda _: tokenizer.train_bpe_tokenizer(["a"], vocab_size=200), "vocab_size=200", "4096"),
    ("LocateTask: other weights",
     lambda x: kn.LocateTask(model=str(x.bert_folder), fingerprint="another").open(),
     "fingerprint", "same weights"),
    ("update: the same word", lambda x: update(x.bert, PROMPT, "Paris", "Paris", [(0, 1)]),
     "same tokens", "instead"),
    ("update: several tokens", lambda x: update(x.bert, PROMPT, "Paris", "Londoni", [(0, 1)]),
     "'Londoni', which this tokenizer cuts into", "one-token"),
    ("update: none", lambda x: update(x.bert, PROMPT, "Paris", "London", []), "no neurons",
     "locate"),
    ("update: shared", lambda x: update(x.bert, PROMPT, "Paris", "London", [(0, 1)],
     relation_sets=[[(0, 1)], [(0, 1)]]), "1 neuron,", "max_shared"),
    ("update: a weight", lambda x: update(x.bert, PROMPT, "Paris", "London", [(0, 1)],
     weight_new=-8), "weight_new=-8", "8"),
    ("erase: no sets", lambda x: erase(x.bert, []), "0 sets", "locate"),
    ("erase: a number", lambda x: erase(x.bert, [[(0, 1)]], num_neurons=0), "num_neurons=0", "20"),
    ("rank_one: subject", lambda x: rank_one(x.bert, PROMPT, "Paris", "London", subject="Japan"),
     "'Japan'", "leave the subject out"),
    ("rank_one: layer", lambda x: rank_one(x.bert, PROMPT, "Paris", "London", layer=2), "layer 2",
     "from 0"),
    ("edited: other weights", lambda x: edited(x.gpt, x.edited()).__enter__(), "tiny-gpt", "again"),
    ("write_checkpoint: exists", lambda x: write_checkpoint(x.bert, x.edited(), x.tmp), "exists",
     "force"),
    ("Edit: load nothing", lambda x: Edit.load(x.tmp / "no"), "no", "save()"),
    ("locate_preset: unknown", lambda _: kn.locate_preset("fast"), "preset='fast'", "default"),
    ("locate: an empty bag", lambda x: kn.locate(x.bert, [], "Paris"), "no prompts", "[MASK]"),
    ("locate: a baseline alone", lambda x: kn.locate(x.bert, PROMPT, "Paris",
     config=L(baseline="mean")), "baseline='mean'", "reference"),
    ("evidence: another model", lambda x: kn.evidence(x.gpt, x.located()), "a location in",
     "locate again"),
    ("evidence: sizes", lambda x: kn.evidence(x.bert, x.located(), sizes=[2, 1]), "sizes=[2, 1]",
     "leave them out"),
    ("probs_scaled: neuron", lambda x: kn.probs_scaled(
     x.bert, encode_answers(x.bert, [PROMPT], ["Paris"]), [[(0, 99)]], factor=0), "neuron 99", "0"),
    ("read_located: no sweep", lambda x: kn.read_located(x.tmp), "{tmp}", ""),
    ("read_sets: no sweep", lambda x: kn.read_sets(x.tmp), "{tmp}", ""),
    ("corpus_statistics: no sweep", lambda x: kn.corpus_statistics(x.tmp), "{tmp}", ""),
    ("CorpusConfig: a share", lambda _: kn.CorpusConfig(min_answered=2), "min_answered=2", "0.5"),
    ("refined_sets: no prompts", lambda x: kn.refined_sets(
     [x.fact(coarse=())], config=kn.CorpusConfig()), "no coarse sets", "locate"),
    ("held_facts: unknown relation", lambda x: kn.held_facts(
     [x.fact()], config=kn.CorpusConfig(), relation="P0"), "'P0'", "sweep"),
    ("intervene_relations: no neurons", lambda x: kn.intervene_relations(
     x.bert, [kn.HeldFact(name="a", relation="r", prompts=(PROMPT,), answer="Paris", neurons=())],
     factor=0), "0 facts with neurons", "locate"),
    ("activations: no texts", lambda x: kn.activations(x.bert, [], [(0, 1)]), "no texts", ""),
    *[(f"{name}: load nothing", lambda x, name=name: getattr(kn, name).load(x.tmp / "no"), "no",
       "save()") for name in ("Activations", "Corpus", "Evidence", "RelationChanges")],
    ("judge: an erasure", lambda x: kn.judge(x.bert, x.edited("erase"), x.case()), "'erase'",
     "judge_erasure"),
    ("judge: another new answer", lambda x: kn.judge(x.bert, x.edited(), x.case("Tokyo")),
     "'Tokyo'", "'Rome'"),
    ("judge: other weights", lambda x: kn.judge(x.gpt, x.edited(), x.case()), "weights", "plan"),
    ("judge_erasure: no facts", lambda x: kn.judge_erasure(x.bert, x.edited("erase"), [], []),
     "0 facts", "bundled_bags"),
    ("judge_sequence: no cases", lambda x: kn.judge_sequence(x.bert, [x.edited()], []), "0 cases",
     "same order"),
    ("judge_many: no edits", lambda x: kn.judge_many(x.bert, [], []), "0 edits", "same order"),
    ("control_edits: a negative number",
     lambda x: kn.control_edits(x.bert, x.edited(), num_controls=-1), "num_controls=-1", "5"),
    ("pool_verdicts: no rows", lambda x: kn.pool_verdicts([], card=x.edited().card), "0 rows",
     "judge"),
    ("JudgeConfig: an empty sentence", lambda _: kn.JudgeConfig(neutral=(" ",)), "neutral=", "()"),
    ("JudgeTask: another method",
     lambda _: kn.JudgeTask(model="m", fingerprint="f", method="erase").open(), "'erase'",
     "judge_erasure"),
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
    ("register_parts: empty", lambda _: register_parts("", HOMEMADE), "empty model type", "config"),
    ("Specimen: bad rule", lambda _: misled().parts, "feed_forward='nope'", "modules of blocks.0"),
    ("check: experts", lambda x: check(open_model(x.folder("experts"))), "mixture-of-exp", "dense"),
    ("check: unknown parts", lambda _: check(bad_models.homemade()), "no Transformer block",
     "register_parts"),
    *[
        (f"{name}: a {task}", partial(call, task=task), repr(task), "language model")
        for task in ("classifier", "image-classifier")
        for name, call in {
            "encode_prompts": lambda x, task: encode_prompts(replace(x.bert, task=task), [PROMPT]),
            "locate": lambda x, task: kn.locate(replace(x.bert, task=task), PROMPT, "Paris"),
            "suppress": lambda x, task: kn.suppress(replace(x.bert, task=task), PROMPT, "Paris",
                                                    [(0, 0)]),
            "intervene": lambda x, task: kn.intervene(replace(x.bert, task=task), PROMPT, "Paris",
                                                      [(0, 0)], factor=3),
        }.items()
    ],
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
    ("locate: foil", lambda x: kn.locate(x.bert, PROMPT, "Paris",
     config=L(foil="Rome")), "with a foil", ""),
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
    ("LocateConfig: half a node", lambda _: L(num_nodes=5.5), "num_nodes=5.5", "num_nodes=5"),
    ("LocateConfig: a word", lambda _: L(coarse_threshold="a"), "coarse_threshold='a'", "0.7"),
    ("LocateConfig: a share in words", lambda _: L(share="most"), "share='most'", "0.7"),
    ("LocateConfig: tolerance", lambda _: L(tolerance=-1), "tolerance=-1", "1e-3"),
    ("LocateConfig: NaN tolerance", lambda _: L(tolerance=float("nan")), "tolerance=nan", "1e-3"),
    ("LocateConfig: prompts", lambda _: L(min_prompts=-3), "min_prompts=-3", "min_prompts=3"),
    ("LocateConfig: most neurons", lambda _: L(max_neurons=5.5), "max_neurons=5.5", "5"),
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
    ("suppress: a fraction", lambda x: kn.suppress(x.bert, PROMPT, "Paris", [(0, 1.7)]), "1.7",
     "locate"),
    ("suppress: no pair", lambda x: kn.suppress(x.bert, PROMPT, "Paris", [3]), "[3]", "locate"),
    ("intervene: a word", lambda x: kn.intervene(x.bert, PROMPT, "Paris", [(0, 0)], factor="a"),
     "factor='a'", "factor=0"),
    ("intervene: half a control", lambda x: kn.intervene(x.bert, PROMPT, "Paris", [(0, 0)],
     factor=0, num_controls=2.5), "num_controls=2.5", "factor=0"),
    ("Intervention: page on a file", lambda x: x.turned().to_html(x.file("a.html", "mine")),
     "exists", "--force"),
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
    *ATTENTION_ROWS,
    *CALIBRATION_ROWS,
    *LANDSCAPE_ROWS,
    *ELECTRA_ROWS,
    ("natural_sentences: no data", lambda x: corpus.natural_sentences(
        x.tmp, facts=facts.load_facts()[:1]), "{tmp}", "--data"),
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


def test_a_registered_rule_finds_the_parts_of_an_unknown_architecture():
    register_parts("homemade", HOMEMADE)
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
    "SlotEdit": "judged by slots_edited",
    "Guess": "made by the verbs",
    "HeldFact": "texts and pairs; intervene_relations judges them",
    "LocatedFact": "made by located_facts, which checks the rows",
    **dict.fromkeys(("Measure", "SequenceVerdict", "Verdict", "Verdicts"), "made by the judges"),
    "judge_item": "lists of a case; the JudgeTask judges them",
    "perplexity_facts": "draws at most as many facts as there are",
    "Fact": "three texts; the functions that take it judge them",
    "Relation": "texts; prompts_for judges them",
    **ATTENTION_REASONS,
    **CALIBRATION_REASONS,
    **LANDSCAPE_REASONS,
    **ELECTRA_REASONS,
    "neurons": "the module of the verbs, whose names are rows of their own",
    "zoo": "a module: its functions are rows",
    "__version__": "a text",
}


def public_names() -> set[str]:
    """What a user may call: the __all__ lists, and functions of data that raise VesaliusError."""
    names = {*vesalius.__all__, *vesalius.models.__all__, *kn.__all__, *vesalius.attention.__all__}
    names |= {*vesalius.calibrate.__all__, *vesalius.landscape.__all__}
    names |= {*vesalius.electra.__all__}
    names |= {f"zoo.{name}" for name in ("path", "card")}
    for module in (corpus, facts, masking, select, tokenizer, pruned, *LABELLED):
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
    assert {"prompts_for", "read_facts", "natural_sentences", "save_pruned"} <= public_names()
    assert len({row[0] for row in ROWS}) == len(ROWS)
