"""The reproduction of ELECTRA runs, its page is that of its numbers, its rules say no."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

FOLDER = Path(__file__).parents[2] / "reproductions" / "electra"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(FOLDER)}
WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "it",
    "sleeps",
)


def call(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", FOLDER / "run.py", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)


def test_the_stored_page_is_that_of_the_stored_numbers(tmp_path: Path):
    for name in ("results", "figures"):
        shutil.copytree(FOLDER / name, tmp_path / name)
    run = call("page", "--no-pictures", "--page", tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / "README.md").read_text("utf-8") == (FOLDER / "README.md").read_text("utf-8")
    for picture in (FOLDER / "figures").iterdir():
        assert picture.stat().st_size <= 300 * 1024


def test_a_run_needs_data_and_a_known_arm(tmp_path: Path):
    run = call("pretrain", "--out", tmp_path)
    assert run.returncode == 2
    assert "--data" in run.stderr


def write(folder: Path, arm: str, **steps: list[dict[str, Any]]) -> None:
    path = folder / "results" / f"{arm.replace('+', '-')}.json"
    path.parent.mkdir(exist_ok=True)
    told = {step: {str(k): v for k, v in enumerate(each)} for step, each in steps.items()}
    path.write_text(json.dumps({"arm": arm, "steps": told}), "utf-8")


def log(correct: float, accuracy: float = 0.5) -> dict[str, Any]:
    names = ("correct_samples", "generator_accuracy", "generator_prob_original", "generator_nats")
    names += ("generator_entropy_nats", "discriminator_nats_masked", "discriminator_nats_unmasked")
    last = dict.fromkeys(names, 1.0) | {"correct_samples": correct, "generator_accuracy": accuracy}
    curves = {name: [value / 4, value / 2, value] for name, value in last.items()}
    return {"steps": [50, 100, 200], "curves": curves, "last": last, "num_steps": 200,
            "tokens": 4e5, "seconds": 1.0}  # fmt: skip


def variance(own: float, *, median: float = 0.0) -> dict[str, Any]:
    each = {"median": median, "mean": 1.2, "total": 1.0, "quantiles": [0.1, 0.2, 0.9, 1.5]}
    return {
        "slots": 8, "bias": 1e-7, "mean_nats": 0.5, "cut_mean_nats": 0.5,
        "prob_original": [0.4, 0.3], "effective_share": 0.9,
        "ratios": {"loss": each, "logit gradient": each} if median else {},
        "loss": {"generator": 1.0, "own": own, "best_for_loss": 0.0},
        "logit gradient": {"generator": 1.0, "own": own, "best_for_loss": 0.1},
    }  # fmt: skip


def judged(folder: Path) -> dict[tuple[str, str], list[str]]:
    """Give the rows of the table of claims, by claim and arm."""
    run = call("page", "--no-pictures", "--page", folder)
    assert run.returncode == 0, run.stderr[-2000:]
    lines = (folder / "README.md").read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in each.split("|")[1:-1]] for each in lines if each[:1] == "|"]
    rows = [row for row in rows if len(row) == 5 and row[0].startswith("(") and row[2][0].isalpha()]
    return {(row[1], row[2]): row[3:] for row in rows}


def test_rules_say_yes_no_and_open(tmp_path: Path):
    """A gain over plain alone is none; five seeds of a known spread decide."""
    noise = (-0.01, -0.005, 0.0, 0.005, 0.01)
    write(
        tmp_path, "plain", log=[log(0.43 + e) for e in noise],
        variance=[variance(1.0 + e) for e in noise],
    )  # fmt: skip
    write(
        tmp_path, "temperature", log=[log(0.36 + e) for e in noise],
        variance=[variance(0.5 - e) for e in noise],
    )  # fmt: skip
    write(
        tmp_path, "hardness+focal", log=[log(0.33 + e, 0.53) for e in noise],
        variance=[variance(0.8 + e, median=0.85) for e in noise],
    )  # fmt: skip
    write(tmp_path, "focal", log=[log(0.38 + 2 * e) for e in noise])
    write(tmp_path, "hardness-loss", log=[log(0.1)] * 2)  # two seeds are too few
    found = judged(tmp_path)
    correct, both = "less: correct samples, %", "hardness + focal"
    assert found[correct, both][0] == "yes"  # the differences of paired seeds have no spread
    assert found[correct, both][1].startswith("33.0; **-10.0 ± 0.0** against plain")
    assert found[correct, "focal"][0] == "**no**"  # worse than temperature 1.3
    assert found["at least 3 points fewer correct samples than plain", "focal"][0] == "yes"
    steadier = "less: variance of the loss estimate, nats²"
    assert found[steadier, both][0] == "**no**"
    right = "the generator is right as often as plain's at first choice, within 1 point"
    assert found[right, both] == ["**no**", "**+3.0 ± 0.0** points"]
    ratio = "variance over that of the generator's draws"
    assert found[f"{ratio}: median over slots below 0.9", both][0] == "yes"
    assert found[f"{ratio}: mean over slots at most 1.1", both][0] == "**no**"
    assert not [key for key in found if key[1] == "hardness, loss"]


def test_noise_is_told_from_differences(tmp_path: Path):
    """Differences of -1, 0 and 1 point: a standard error of 0.58, and 1.15 twice."""
    write(tmp_path, "plain", log=[log(0.4)] * 3)
    write(tmp_path, "temperature", log=[log(value) for value in (0.39, 0.40, 0.41)])
    write(tmp_path, "focal", log=[log(value) for value in (0.33, 0.34, 0.35)])
    assert call("page", "--no-pictures", "--page", tmp_path).returncode == 0
    text = (tmp_path / "README.md").read_text("utf-8")
    row = next(each for each in text.splitlines() if each.startswith("| correct samples, % | less"))
    assert row.split("|")[4:-1] == [" +0.0 ± 1.2 ", " **-6.0 ± 1.2** ", " **-6.0 ± 0.0** "]


PARTS = """
import numpy as np
from corpus import MASK, SPECIAL, make_corpus, to_rows
from corruptions import SWAPS, SLOTS, add_noise, area, swap_neighbours
from tasks import character_tokenizer

characters = " abcdefgh"
rows = to_rows("abc def gh " * 400, characters)
assert rows.shape == (70, 64) and (rows[:, 0] == 2).all() and (rows[:, -1] == 3).all()
swapped = swap_neighbours(rows, random=np.random.default_rng(0))
assert ((swapped != rows).sum(1) == 2 * SWAPS).all()
assert (np.sort(swapped, 1) == np.sort(rows, 1)).all()
counts = np.array([0] * len(SPECIAL) + [1] * len(characters))
noisy = add_noise(rows, counts, random=np.random.default_rng(0))
changed = (noisy != rows).sum(1)
assert changed.max() <= SLOTS and changed.mean() > SLOTS / 2 and noisy.min() >= 2
assert area(np.array([0.1, 0.2, 0.3, 0.3]), np.array([False, True, False, True])) == 0.625
tokenizer = character_tokenizer(characters)
ids = tokenizer("Abc  x", "d")["input_ids"]
assert ids == [2, 6, 7, 8, 5, 1, 3, 9, 3], ids
assert tokenizer.mask_token_id == MASK
"""


def test_parts_are_what_they_say():
    command = [sys.executable, "-W", "error", "-c", PARTS]
    run = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write small sets of the names that the study reads."""
    from vesalius.data.plain_text import SOURCES

    folder = tmp_path_factory.mktemp("data")
    texts = [
        " ".join(WORDS[(i * j + j) % len(WORDS)] for j in range(180)) + f" {i}." for i in range(900)
    ]
    for number, source in enumerate(SOURCES.values()):
        path = folder / source.path
        path.parent.mkdir(exist_ok=True)
        part = texts[number :: len(SOURCES)]
        parquet.write_table(pa.Table.from_pylist([{"text": text} for text in part]), path)
    (folder / "cls").mkdir()
    rows = [
        {"text": f"{('good', 'bad')[i % 2]} thing {i}", "label": i % 2,
         "split": "train" if i % 3 else "test"}
        for i in range(96)
    ]  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(rows), folder / "cls" / "sst2.parquet")
    return folder


@pytest.fixture(scope="module")
def asked(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Pretrain two tiny pairs, and name the options of what is measured of one of them."""
    folder = tmp_path_factory.mktemp("work")
    common = ("--quick", "--num-steps", "4", "--data", data, "--out", folder, "--seeds", "99")
    run = call("pretrain", *common, "--arms", "plain,hardness+focal")
    assert run.returncode == 0, run.stderr[-2000:]
    return ("measure", *common, "--arms", "hardness+focal")


def test_runs(asked: tuple[object, ...], tmp_path: Path):
    run = call(*asked, "--page", tmp_path, "--steps", "log,corruptions,variance")
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads((tmp_path / "results" / "hardness-focal.json").read_text("utf-8"))["steps"]
    assert set(found) == {"log", "corruptions", "variance"}
    assert found["variance"]["99"]["bias"] < 1e-4
    assert 0 < found["corruptions"]["99"]["generator"]["auc"] < 1


@pytest.mark.slow
def test_fine_tunes_and_goes_on(asked: tuple[object, ...], tmp_path: Path):
    run = call(*asked, "--page", tmp_path, "--steps", "sst2")
    assert run.returncode == 0, run.stderr[-2000:]
    stored = tmp_path / "results" / "hardness-focal.json"
    before = stored.read_bytes()
    assert json.loads(before)["steps"]["sst2"]["99"]["rows"] == {"train": 32, "test": 16}
    again = call(*asked, "--page", tmp_path, "--steps", "sst2")
    assert again.returncode == 0, again.stderr[-2000:]
    assert " of a core" not in again.stderr  # nothing was made again
    assert stored.read_bytes() == before
