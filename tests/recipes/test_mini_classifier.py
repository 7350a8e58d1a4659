"""The bundled classifier: a trajectory in little room, and the ordinary folder made from it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.models import compact, zoo
from vesalius.models.compact import compress_points, read_trajectory, write_trajectory


def _points(num_points: int = 6, *, seed: int = 0) -> tuple[dict[int, dict[str, np.ndarray]],
                                                            dict[str, np.ndarray]]:  # fmt: skip
    """A curved path in three directions, with a head that the base does not have."""
    random = np.random.default_rng(seed)
    shapes = {"embed.weight": (20, 6), "block.weight": (9, 5), "norm.weight": (5,)}
    base = {n: random.normal(size=s).astype(np.float16) for n, s in shapes.items()}
    moves = [{n: random.normal(size=s) for n, s in shapes.items()} for _ in range(3)]
    points: dict[int, dict[str, np.ndarray]] = {}
    for i in range(num_points):
        t = i / (num_points - 1)
        factors = (t, 0.5 * t * (1 - t), 0.2 * np.sin(2 * np.pi * t))
        points[10 * i] = {
            n: (base[n] + sum(f * m[n] for f, m in zip(factors, moves, strict=True))).astype("f4")
            for n in shapes
        } | {"classifier.weight": random.normal(size=(2, 5)).astype("f4")}
    return points, base


def _kept(found: compact.Trajectory, points: dict[int, dict[str, np.ndarray]]) -> list[float]:
    shares = []
    for i, step in enumerate(found.steps[1:], start=1):
        stored = found.weights(i)
        left = sum(np.square(points[step][n] - stored[n]).sum() for n in found.base)
        whole = sum(np.square(points[step][n] - found.base[n]).sum() for n in found.base)
        shares.append(1 - float(left / whole))
    return shares


def test_ends_are_exact_up_to_rounding_and_heads_are_exact():
    points, base = _points()
    found = compress_points(points, base=base, num_directions=3)
    assert found.steps == tuple(points)
    for name in base:
        assert np.array_equal(found.weights(0)[name], base[name].astype(np.float32))
    moved = np.abs(points[50]["block.weight"] - base["block.weight"]).max(axis=1, keepdims=True)
    error = np.abs(found.weights(5)["block.weight"] - points[50]["block.weight"])
    assert (error <= moved / 127 * 0.51).all()
    for i, step in enumerate(points):
        head = found.weights(i)["classifier.weight"]
        assert np.array_equal(head, points[step]["classifier.weight"])


def test_more_directions_keep_more():
    points, base = _points()
    shares = [min(_kept(compress_points(points, base=base, num_directions=k, everywhere=k), points))
              for k in (1, 2, 3)]  # fmt: skip
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.99
    assert min(_kept(compress_points(points, base=base, num_directions=3), points)) < shares[2]


def test_a_file_gives_back_what_was_fitted(tmp_path: Path):
    from safetensors.numpy import save

    points, base = _points()
    base["still.weight"] = np.ones((2, 2), dtype=np.float16)
    for point in points.values():
        point["still.weight"] = np.ones((2, 2), dtype=np.float32)
    found = compress_points(points, base=base, num_directions=3)
    weights = tmp_path / "base.safetensors"
    weights.write_bytes(save(base | {"decoder.bias": np.ones(3, dtype=np.float16)}))
    write_trajectory(found, tmp_path / "t.safetensors", base_name="b", base_hash="abc")
    again = read_trajectory(tmp_path / "t.safetensors", base=weights, base_hash="abc")
    assert again.steps == found.steps
    for i in range(len(found)):
        one, two = found.weights(i), again.weights(i)
        assert one.keys() == two.keys()
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-5, atol=1e-6)
    assert [step for step, _ in again] == list(points)
    with pytest.raises(VesaliusError, match="made over"):
        read_trajectory(tmp_path / "t.safetensors", base=weights, base_hash="other")


def test_too_few_points_are_refused():
    points, base = _points(2)
    with pytest.raises(VesaliusError, match="2 points, 2 directions"):
        compress_points(points, base=base, num_directions=2)
    with pytest.raises(VesaliusError, match="1 points"):
        compress_points({0: points[0]}, base=base, num_directions=1)


def test_a_model_without_its_training_is_refused():
    with pytest.raises(VesaliusError, match="--snapshots"):
        zoo.trajectory("mini-bert")
    with pytest.raises(VesaliusError, match="mini-bert"):
        zoo.stored("maxi-bert")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VESALIUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_classifier_is_written_out_once_and_again_when_damaged(cache: Path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = zoo.path("mini-classifier")
    assert folder.is_relative_to(cache)
    weights = folder / "model.safetensors"
    card = zoo.card("mini-classifier")
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == card["sha256"]
    stamp = weights.stat().st_mtime_ns
    assert zoo.path("mini-classifier") == folder
    assert weights.stat().st_mtime_ns == stamp
    weights.write_bytes(b"damaged")
    assert zoo.path("mini-classifier") == folder
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    words = AutoTokenizer.from_pretrained(folder)
    texts = ["a warm , funny and wonderful film", "a dull , stupid and boring mess"]
    with torch.no_grad():
        logits = model.eval()(**words(texts, padding=True, return_tensors="pt")).logits
    labels = [model.config.id2label[i] for i in logits.argmax(dim=-1).tolist()]
    assert labels == ["positive", "negative"]
    last = list(zoo.trajectory("mini-classifier"))[-1][1]
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, last[name], rtol=1e-3, atol=1e-3)


def test_the_card_says_how_good_the_stored_points_are():
    card, folder = zoo.card("mini-classifier"), zoo.stored("mini-classifier")
    last = card["points"][-1]
    assert len(card["points"]) >= 10
    assert last["kept"] > 0.99
    for split in ("dev", "test"):
        assert last[f"{split}_stored"] > card["baselines"][split]["majority"] + 0.1
        assert abs(last[f"{split}_stored"] - last[f"{split}_trained"]) < 0.01
    assert card["licence"].startswith("CC BY-SA 4.0")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 7.3 * 2**20


def test_a_recipe_takes_no_other_preset(tmp_path: Path):
    from vesalius.recipes.mini_classifier import make_mini_classifier

    with pytest.raises(VesaliusError, match="preset"):
        make_mini_classifier(tmp_path, tmp_path / "out", preset="gpu")
    with pytest.raises(VesaliusError, match=r"sst2\.parquet"):
        make_mini_classifier(tmp_path, tmp_path / "out")
