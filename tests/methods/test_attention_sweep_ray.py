"""Attributing many texts gives the same bytes on a Ray cluster and in this process."""

from pathlib import Path

import pytest

import vesalius
from vesalius.data.labelled import load_labelled
from vesalius.parallel.sweep import sweep


@pytest.mark.slow
def test_a_sweep_on_ray_gives_the_bytes_of_a_local_one(tmp_path: Path):
    pytest.importorskip("ray")
    specimen = vesalius.open("mini-classifier")
    task = vesalius.attention.AttributeTask(
        model="mini-classifier",
        fingerprint=specimen.fingerprint,
        config=vesalius.attention.AttributeConfig(baseline="uniform", keep=3),
    )
    texts = load_labelled("opinions").splits["test"].texts[:12]
    items = [{"name": str(i), "text": text} for i, text in enumerate(texts)]
    here = sweep(task, items, tmp_path / "here", shard_size=3)
    there = sweep(task, items, tmp_path / "there", shard_size=3, engine="ray", workers=2)
    assert here.num_rows == there.num_rows == len(texts)
    tables = [(found.folder / "table.parquet").read_bytes() for found in (here, there)]
    assert tables[0] == tables[1]
