"""`vesalius attention attribute | tree | graph`: what they print, write and refuse."""

from pathlib import Path

import numpy as np
import pytest

import vesalius
from cli.tiny import Run
from vesalius.cli.attention_texts import distinct, draw_tree, percent
from vesalius.methods.attention_attribution import Attributions, Tree, build_graph, build_tree
from vesalius.plots.link_tree import Link

TEXT = "Paris is the capital of France"
VERBS = ("attribute", "tree", "graph")


@pytest.mark.parametrize("verb", VERBS)
def test_text_on_stdout_is_what_the_json_says(run: Run, classifier_folder: Path, verb: str):
    words = ("attention", verb, "--model", classifier_folder, "--text", TEXT)
    ran = run(*words)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == f"[CLS] {TEXT} [SEP]"
    (told,) = run(*words, "--json").json()[verb]
    assert lines[1].startswith(f"{told['target']} {told['prob']:.4f}   completeness gap at most ")
    assert told["tokens"] == ["[CLS]", *TEXT.split(), "[SEP]"]
    assert (told["attributed"], told["value"]) == ("probability", told["prob"])
    for link in told["links"]:
        read, reader = told["tokens"][link["read"]], told["tokens"][link["reader"]]
        assert any(read in line and (verb == "tree" or reader in line) for line in lines[2:])


def test_attribute_shows_the_strongest_of_all_links(run: Run, classifier_folder: Path):
    words = ("attention", "attribute", "--model", classifier_folder, "--text", TEXT)
    # whatever the graph may show of a layer
    (told,) = run(*words, "--per-layer", 1, "--json").json()["attribute"]
    specimen = vesalius.open(classifier_folder)
    scores = vesalius.attention.attribute(specimen, [TEXT]).layer_links(0).scores
    between = scores * ~np.eye(scores.shape[1], dtype=bool)
    found = [link["attribution"] for link in told["links"]]
    np.testing.assert_allclose(found, np.sort(between.ravel())[::-1][:10], rtol=1e-4)
    assert len(run(*words).out.splitlines()) == 2 + 1 + 10


def test_tree_and_graph_are_those_of_the_library(run: Run, classifier_folder: Path):
    specimen = vesalius.open(classifier_folder)
    links = vesalius.attention.attribute(specimen, [TEXT], targets="positive").layer_links(0)
    words = ("--model", classifier_folder, "--text", TEXT, "--label", "positive", "--json")
    tree = build_tree(links, tau=0.2, rule="paper", root="reader")
    (told,) = run("attention", "tree", *words, "--tau", 0.2, "--tree-rule", "paper", "--root",
                  "reader").json()["tree"]  # fmt: skip
    assert [(k["layer"], k["reader"], k["read"]) for k in told["links"]] == [
        (k.layer, k.reader, k.read) for k in tree.links
    ]
    assert (told["root"], told["target"]) == (tree.root, "positive")
    assert told["kept"] == pytest.approx(tree.kept, rel=1e-4)
    graph = build_graph(links, per_layer=3)
    (told,) = run("attention", "graph", *words, "--per-layer", 3).json()["graph"]
    assert [(k["layer"], k["reader"], k["read"]) for k in told["links"]] == [
        (k.layer, k.reader, k.read) for k in graph.links
    ]


def made_tree(*links: tuple[int, int, int, float], rule: str = "score", kept: float = 0.5) -> Tree:
    names = ("the", "cat", "saw", "the", "dog")
    return Tree(
        tokens=names, special=(False,) * 5, num_layers=3, rule=rule, tau=0.4, reader=None, root=2,
        links=tuple(Link(layer=a, reader=b, read=c, score=d) for a, b, c, d in links),
        terminals=(), kept=kept, num_salient=len(links),
    )  # fmt: skip


def test_a_tree_is_drawn_with_its_strongest_link_first():
    drawn = draw_tree(made_tree((2, 2, 0, 0.1), (2, 2, 1, 0.5), (1, 1, 3, 0.25), (1, 0, 4, 1e-5)))
    assert drawn.splitlines() == [
        "saw",
        "├─ cat  (layer 2, 0.5)",
        "│  └─ the#2  (layer 1, 0.25)",
        "└─ the#1  (layer 2, 0.1)",
        "   └─ dog  (layer 1, 1e-05)",
        "keeps 50% of the positive attribution between different tokens",
    ]


def test_several_readers_are_listed_and_a_bare_root_is_said():
    drawn = draw_tree(made_tree((2, 2, 0, 0.1), (1, 0, 3, 0.25), (1, 2, 3, 0.2), rule="dag"))
    assert drawn.splitlines()[:3] == [
        "layer 2: saw<-the#1  0.1",
        "layer 1: the#1<-the#2  0.25",
        "layer 1: saw<-the#2  0.2",
    ]
    assert draw_tree(made_tree(kept=0.0)) == "saw: no link of it reaches 0.4 of its layer's largest"


def test_a_small_share_is_told_from_nothing():
    shown = [percent(share) for share in (1.0, 0.28, 0.01, 0.0042, 0.00002, 1e-9, 0.0)]
    assert shown == ["100%", "28%", "1%", "0.4%", "0.002%", "under 0.001%", "0%"]
    assert distinct(["the", "cat", "the"]) == ("the#1", "cat", "the#2")


def test_a_layer_without_positive_links_says_so(run: Run, classifier_folder: Path):
    ran = run("attention", "graph", "--model", classifier_folder, "--text", TEXT)
    assert "1  nothing above zero" in ran.out
    assert "nan" not in ran.out
    told = run("attention", "graph", "--model", classifier_folder, "--text", TEXT, "--json").json()
    assert told["graph"][0]["hierarchy"]["distance"][1] is None


@pytest.mark.parametrize("verb", VERBS)
def test_files_are_written_whole_once_and_open(
    run: Run, classifier_folder: Path, tmp_path: Path, verb: str
):
    out, page, plot = tmp_path / "out", tmp_path / "page.html", tmp_path / "picture.svg"
    words = ("attention", verb, "--model", classifier_folder, "--text", TEXT, "--out", out,
             "--html", page, "--plot", plot)  # fmt: skip
    ran = run(*words)
    assert ran.code == 0
    assert ran.err == "".join(f"vesalius: wrote {path}\n" for path in (out, page, plot))
    assert Attributions.load(out).examples[0].text.words[1:-1] == tuple(TEXT.split())
    assert "capital" in page.read_text("utf-8")
    assert plot.read_bytes().startswith(b"<?xml")
    for flag, path in (("--out", out), ("--html", page), ("--plot", plot)):
        again = run("attention", verb, "--model", classifier_folder, "--text", TEXT, flag, path)
        assert (again.code, again.out) == (1, "")
        assert "exists" in again.err
    assert run(*words, "--force").code == 0


def test_pictures_of_several_texts_are_numbered_and_refused_before_any_work(
    run: Run, classifier_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    texts = tmp_path / "texts.txt"
    texts.write_text("Paris is a city\n\nRome has its language\n")
    words = ("attention", "tree", "--model", classifier_folder, "--texts", texts, "--plot",
             tmp_path / "t.png")  # fmt: skip
    ran = run(*words)
    assert ran.code == 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["t-0.png", "t-1.png"]
    assert ran.out.count("keeps ") == 2
    (tmp_path / "t-0.png").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("vesalius.cli.attention_texts.open_model", None)  # a call would fail
        refused = run(*words, "--out", tmp_path / "out")
    assert refused.code == 1
    assert "t-1.png', which exists" in refused.err
    assert not (tmp_path / "out").exists()
    assert run(*words, "--force").code == 0


def test_pairs_from_flags_and_from_a_file_are_the_same(run: Run, pair_folder: Path, tmp_path: Path):
    texts = tmp_path / "pairs.tsv"
    texts.write_text("Paris is\ta city\nRome has a\tb c\n")
    words = ("attention", "attribute", "--model", pair_folder, "--json")
    labels = ("--label", "yes", "--label", "no")
    ran = run(*words, "--texts", texts, *labels)
    assert ran.code == 0
    told = ran.json()["attribute"]
    assert told[0]["tokens"] == ["[CLS]", "Paris", "is", "[SEP]", "a", "city", "[SEP]"]
    assert [row["target"] for row in told] == ["yes", "no"]
    flags = ("--text", "Paris is", "--pair", "a city", "--text", "Rome has a", "--pair", "b c")
    assert run(*words, *flags, *labels).json()["attribute"] == told
    shown = run("attention", "attribute", "--model", pair_folder, *flags).out
    assert "[SEP]#1" in shown
    assert "[SEP]#2" in shown


def test_a_label_is_a_name_in_any_case_or_a_number(run: Run, classifier_folder: Path):
    words = ("attention", "tree", "--model", classifier_folder, "--text", TEXT)
    by_name = run(*words, "--label", "Positive")
    assert "positive 0." in by_name.out
    assert "(it says negative)" in by_name.out
    assert run(*words, "--label", "1").out == by_name.out


def test_language_models_are_asked_for_a_word(run: Run, bert_folder: Path, gpt_folder: Path):
    prompt = "The capital of France is [MASK]."
    ran = run("attention", "tree", "--model", bert_folder, "--text", prompt, "--root", "reader")
    assert ran.code == 0
    assert ran.out.splitlines()[1].startswith("Paris 0.")
    assert ran.out.splitlines()[2] == "[MASK]"
    words = ("attention", "attribute", "--model", gpt_folder, "--json", "--text")
    (told,) = run(*words, "The capital of France is [MASK]", "--label", "Rome").json()["attribute"]
    assert told["target"] == "Rome"
    assert told["tokens"][1:] == ["The", "capital", "of", "France", "is"]
    (whole,) = run(*words, "The capital of France is", "--label", "Rome").json()["attribute"]
    assert whole == told


def test_other_targets_show_what_is_attributed(run: Run, classifier_folder: Path):
    words = ("attention", "attribute", "--model", classifier_folder, "--text", TEXT, "--target")
    ran = run(*words, "logit-difference", "--label", "positive", "--foil", "negative")
    assert "positive against negative, logit-difference -0." in ran.out
    (told,) = run(*words, "logit-difference", "--json").json()["attribute"]
    assert told["foil"] == "positive"
    (told,) = run(*words, "log-probability", "--json").json()["attribute"]
    assert told["value"] == pytest.approx(np.log(told["prob"]), rel=1e-4)
    assert f"negative, log-probability {told['value']:.4g}" in run(*words, "log-probability").out


def test_baselines_presets_and_the_links_kept(run: Run, classifier_folder: Path, tmp_path: Path):
    words = ("attention", "tree", "--model", classifier_folder, "--text", TEXT, "--json")
    others = tmp_path / "others.txt"
    others.write_text("Rome is a city\nTokyo has a language\n")
    found = [
        run(*words, "--baseline", *extra).json()["tree"][0]["gap"]
        for extra in (["zero"], ["uniform"], ["mean", "--reference", others], ["without-words"])
    ]
    assert len({tuple(gap) for gap in found}) == 4
    ran = run(*words, "--nodes", 3, "--rule", "midpoint", "--keep", 2, "--out", tmp_path / "out")
    assert "--keep 2: trees, graphs and shares are those of the links kept" in ran.err
    loaded = Attributions.load(tmp_path / "out")
    assert loaded.card.config["num_nodes"] == 3
    assert loaded.examples[0].links is not None
    assert len(loaded.examples[0].links.score) == 2 * 4  # of four heads


def test_half_precision_is_a_stated_warning(run: Run, classifier_folder: Path):
    ran = run("attention", "graph", "--model", classifier_folder, "--text", TEXT, "--dtype",
              "bfloat16")  # fmt: skip
    assert ran.code == 0
    assert "computed in bfloat16" in ran.err
    assert "bfloat16" not in ran.out


def test_one_value_is_shown_where_there_is_no_class(run: Run, tmp_path: Path):
    from cli import tiny

    folder = tiny.save(tiny.classifier("score"), tmp_path / "regression")
    ran = run("attention", "tree", "--model", folder, "--text", TEXT, "--target", "logit")
    assert ran.code == 0
    assert ran.out.splitlines()[1].startswith("score, logit ")


def test_a_dry_run_writes_nothing_and_refuses_what_the_run_would(
    run: Run, classifier_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    words = ("attention", "attribute", "--model", classifier_folder, "--text", TEXT, "--dry-run",
             "--out", out)  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr("vesalius.methods.attention_attribution.attribute", None)
        shown = run(*words)
        (row,) = run(*words, "--json").json()["forecast"]
    assert shown.code == 0
    assert "forward passes" in shown.out
    # 2 sites of 8 nodes: those of block 0 pass two blocks, those of block 1 one
    assert (row["texts"], row["positions"], row["heads"], row["streams"]) == (1, 8, 4, 16)
    assert (row["forward_block_passes"], row["backward_block_passes"]) == (26, 24)
    assert not out.exists()
    refused = run(*words, "--label", "neither")
    assert (refused.code, refused.out) == (1, "")
    assert "'neither'" in refused.err


def test_the_bundled_classifier_is_the_default(run: Run, tmp_path: Path):
    page = tmp_path / "mess.html"
    ran = run("attention", "tree", "--text", "A dull, lifeless mess.", "--baseline", "uniform",
              "--html", page)  # fmt: skip
    assert ran.code == 0
    assert ran.out.splitlines()[1].startswith("negative 0.")
    assert "lifeless" in page.read_text("utf-8")
