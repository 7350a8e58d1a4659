"""Where a training began: beside a checkpoint, in a bundled model, or nowhere."""

import shutil
from pathlib import Path

import pytest

from cli import tiny
from vesalius.core.errors import VesaliusError
from vesalius.models import zoo
from vesalius.models.training_path import checkpoints_of, start_of


def weights(folder: Path, content: str) -> Path:
    """A folder that looks like a checkpoint."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(content, "utf-8")
    return folder


@pytest.fixture
def finetuned(tmp_path: Path) -> Path:
    """Two seeds with snapshots, as vesalius finetune leaves them; seed 1 was the better one."""
    for seed in (0, 1):
        for step in (0, 50, 100):
            weights(tmp_path / f"seed-{seed}" / "snapshots" / f"step-{step:06d}", f"{seed} {step}")
        weights(tmp_path / f"seed-{seed}" / "model", f"{seed} 100")
    shutil.copytree(tmp_path / "seed-1" / "model", tmp_path / "model")
    return tmp_path


@pytest.mark.parametrize("place", ["seed-1/model", "model", "seed-1", "seed-1/snapshots",
                                   "seed-1/snapshots/step-000100"])  # fmt: skip
def test_the_training_is_found_around_a_checkpoint(finetuned: Path, place: str):
    found = checkpoints_of(finetuned / place)
    assert [step for step, _ in found] == [0, 50, 100]
    start = Path(str(start_of(finetuned / place)))
    assert (start / "model.safetensors").read_text("utf-8") == "1 0"


def test_a_path_ends_at_the_checkpoint_that_is_named(finetuned: Path):
    found = checkpoints_of(finetuned / "seed-0" / "snapshots" / "step-000050")
    assert [step for step, _ in found] == [0, 50]


def test_a_link_is_followed(finetuned: Path, tmp_path_factory: pytest.TempPathFactory):
    link = tmp_path_factory.mktemp("links") / "mine"
    link.symlink_to(finetuned / "model")
    assert len(list(checkpoints_of(link))) == 3


def test_weights_of_no_seed_have_no_start(finetuned: Path):
    (finetuned / "model" / "model.safetensors").write_text("changed since", "utf-8")
    with pytest.raises(VesaliusError, match="model without its start"):
        start_of(finetuned / "model")


def test_a_training_that_was_not_recorded_from_step_0_has_no_start(tmp_path: Path):
    for step in (50, 100):
        weights(tmp_path / f"checkpoint-{step}", str(step))
    assert len(list(checkpoints_of(tmp_path / "checkpoint-100"))) == 2
    with pytest.raises(VesaliusError, match="that of step 50"):
        start_of(tmp_path / "checkpoint-100")


def test_a_bundled_model_brings_its_training():
    step, first = next(iter(checkpoints_of("mini-classifier")))
    assert step == 0
    start = start_of("mini-classifier")
    assert set(start) == set(zoo.trajectory("mini-classifier").state_dict(0))
    assert all((start[name] == tensor).all() for name, tensor in dict(first).items())


@pytest.mark.parametrize("source", ["mini-bert", "no-such/model"])
def test_others_have_none(source: str):
    with pytest.raises(VesaliusError) as caught:
        start_of(source)
    assert source in caught.value.given
    assert "--start" in caught.value.fix


def test_the_machine_is_not_named(tmp_path: Path):
    folder = tiny.save(tiny.classifier("a", "b"), tmp_path / "alone")
    with pytest.raises(VesaliusError) as caught:
        checkpoints_of(folder)
    assert str(tmp_path) not in caught.value.given
