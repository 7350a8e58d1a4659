"""Attributing many texts in a sweep: the rows of direct calls, resumed, failing texts noted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attention_tiny import classifier, language_model
from cli import tiny
from vesalius.core.errors import VesaliusError
from vesalius.methods.attention_attribution import (
    AttributeConfig,
    AttributeTask,
    attribute,
    build_tree,
)
from vesalius.models.opening import open as open_model
from vesalius.parallel.sweep import sweep

QUICK = AttributeConfig(num_nodes=4, refine=False, keep=2)
ITEMS = [
    {"text": "The capital of France is Paris", "name": "first", "label": "LABEL_1"},
    {"text": "a b c", "pair": "Paris London"},
    {"text": "Rome", "pair": "", "label": None},
    {"text": " "},
    {"text": "Japan Tokyo the country", "label": 2},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(classifier().model, tmp_path_factory.mktemp("models") / "tiny-classifier")


def task_of(folder: Path, **changes: object) -> AttributeTask:
    fingerprint = open_model(str(folder)).fingerprint
    given = {"model": str(folder), "fingerprint": fingerprint, "config": QUICK, **changes}
    return AttributeTask(**given)  # type: ignore[arg-type]


def test_rows_are_those_of_direct_calls(folder: Path, tmp_path: Path) -> None:
    found = sweep(task_of(folder), ITEMS, tmp_path / "out", shard_size=2)
    rows = found.table().to_pylist()
    assert [row["name"] for row in rows] == ["first", "", "", ""]
    assert [row["label"] for row in rows] == ["LABEL_1", "", "", "2"]
    specimen = open_model(str(folder))
    left = [item for item in ITEMS if item["text"].strip()]
    for row, item in zip(rows, left, strict=True):
        pair = item.get("pair") or None
        asked = {"pairs": None if pair is None else [pair], "targets": item.get("label")}
        # tree and heads are those of whole matrices, the links those of the strongest alone
        direct = attribute(specimen, [item["text"]], **asked, config=replace(QUICK, keep=0))
        kept = attribute(specimen, [item["text"]], **asked, config=QUICK).examples[0].links
        example = direct.examples[0]
        tree = build_tree(direct.layer_links(0))
        assert (row["text"], row["pair"]) == (item["text"], pair or "")
        assert (row["target"], row["predicted"]) == (example.target, example.predicted)
        assert row["prob"] == pytest.approx(example.prob, abs=1e-6)
        assert row["tokens"] == list(tree.tokens)
        assert (row["root"], row["kept"]) == (tree.root, pytest.approx(tree.kept, abs=1e-6))
        assert row["readers"] == [link.reader for link in tree.links]
        assert row["reads"] == [link.read for link in tree.links]
        assert row["layers"] == [link.layer for link in tree.links]
        np.testing.assert_allclose(
            row["link_scores"], [link.score for link in tree.links], atol=1e-6
        )
        largest = [direct.site_scores(0, site).max(axis=(1, 2)) for site in range(2)]
        np.testing.assert_allclose(row["head_max"], largest, atol=1e-6)
        assert kept is not None
        assert row["link_key"] == kept.key.tolist()
        assert row["gap"] == pytest.approx(float(example.gap.max()), abs=1e-6)
    assert len(found.skipped) == 1
    assert "an empty text" in str(found.skipped)


def test_a_sweep_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    task = task_of(folder, rule="dag", root="reader", tau=0.2)
    whole = sweep(task, ITEMS, tmp_path / "whole", shard_size=1)
    first = sweep(task, ITEMS, tmp_path / "part", shard_size=1)
    (tmp_path / "part" / "table.parquet").unlink(missing_ok=True)
    lost = sorted((tmp_path / "part" / "shards").iterdir())[:2]
    for path in lost:
        path.unlink()
    again = sweep(task, ITEMS, tmp_path / "part", shard_size=1)
    assert first.num_new_items == 5
    assert again.num_new_items == len(lost) == 2
    assert again.table() == whole.table()


def test_other_weights_and_other_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(VesaliusError, match="the model of this sweep"):
        sweep(task_of(folder, fingerprint="0" * 16), ITEMS[:1], tmp_path / "out")
    sweep(task_of(folder), ITEMS[:1], tmp_path / "kept")
    with pytest.raises(VesaliusError):
        sweep(task_of(folder, tau=0.1), ITEMS[:1], tmp_path / "kept")


def test_language_models_in_a_sweep(tmp_path: Path) -> None:
    path = tiny.save(language_model().model, tmp_path / "tiny-lm")
    items = [{"text": "The capital is [MASK].", "label": "Paris"}]
    found = sweep(task_of(path, root="reader"), items, tmp_path / "out")
    row = found.table().to_pylist()[0]
    assert row["target"] == "Paris"
    assert row["tokens"][row["root"]] == "[MASK]"
