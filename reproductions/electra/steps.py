"""The steps of the evaluation, each a function of an arm and a seed to plain numbers."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from arms import PLAIN, WITH_HEAD
from corruptions import score
from knowing import enumerate_slots
from knowing import known as what_is_known
from pretraining import folder_of
from study import SCRATCH, Study
from tasks import TASKS, Task, character_tokenizer, load_task, options_of

from vesalius.methods.electra.result import OPTIMA, QUANTITIES
from vesalius.methods.electra.variance import verify_variance
from vesalius.recipes.finetune import finetune
from vesalius.training.run_log import read_log

SHOWN: Final = (
    "correct_samples",
    "generator_accuracy",
    "generator_prob_original",
    "generator_entropy_nats",
    "generator_nats",
    "discriminator_nats_masked",
    "discriminator_nats_unmasked",
    "mean_weight",
    "max_weight",
    "hardness_correlation",
)
LAST_SHARE: Final = 0.1  # of the steps, over which the end of a training is averaged
EVERY: Final = 2  # entries of the log that are averaged into one


def logged(study: Study, arm: str, seed: int) -> dict[str, Any]:
    """Average the log over its last tenth, and thin it out for the curves."""
    folder = folder_of(study.out, arm, seed)
    entries = [each for each in read_log(folder) if "measures" in each]
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    names = [name for name in SHOWN if name in entries[0]["measures"]]
    values = {name: np.array([each["measures"][name] for each in entries]) for name in names}
    steps = np.array([each["step"] for each in entries])
    late = steps > (1 - LAST_SHARE) * summary["steps"]
    whole = len(steps) // EVERY * EVERY
    return {
        "steps": steps[:whole].reshape(-1, EVERY)[:, -1],
        "curves": {
            name: [round(x, 4) for x in each[:whole].reshape(-1, EVERY).mean(1).tolist()]
            for name, each in values.items()
        },
        "last": {name: each[late].mean() for name, each in values.items()},
        "num_steps": summary["steps"],
        "tokens": summary["tokens"],
        "seconds": summary["seconds"],
    }


def variance(study: Study, arm: str, seed: int) -> dict[str, Any]:
    """Enumerate the vocabulary at held-out slots: means and variances of the loss estimate."""
    model = study.model(arm, seed)
    found = verify_variance(model, study.held_out, num_slots=study.num_slots, seed=seed)
    own = found.learned[0] if found.learned else found.samplers[0]
    places = [found.samplers.index(name) for name in (found.samplers[0], own)]
    first, second = places
    told: dict[str, Any] = {
        "slots": len(found.slots),
        "bias": found.largest_bias,
        "mean_nats": found.means_nats[first].mean(),
        "cut_mean_nats": found.cut_means_nats[second].mean(),
        "prob_original": found.probs_original[places].mean(1),
        "effective_share": found.effective_shares[second].mean(),
        "ratios": {},
    }
    for quantity, values in zip(QUANTITIES[:2], found.variances[:2], strict=True):
        optimum = found.samplers.index(OPTIMA[QUANTITIES[0]])
        told[quantity] = {
            "generator": values[first].mean(),
            "own": values[second].mean(),
            "best_for_loss": values[optimum].mean(),
        }
        if second != first:
            each = found.slot_ratios(own, quantity)
            each = each[np.isfinite(each)]
            told["ratios"][quantity] = {
                "median": np.median(each),
                "mean": each.mean(),
                "total": values[second].sum() / values[first].sum(),
                "quantiles": np.quantile(each, (0.1, 0.25, 0.75, 0.9)),
            }
    return told


def corrupted(study: Study, arm: str, seed: int) -> dict[str, Any]:
    """Score the discriminator on corruptions that are the same for all."""
    model = study.model(arm, seed)
    return {name: score(model, each) for name, each in study.sets.items()}


def knowing(study: Study, arm: str, seed: int) -> dict[str, Any]:
    """Compare the learned sampler with what can be read off the generator's probabilities."""
    model = study.model(arm, seed)
    return what_is_known(enumerate_slots(model, study.held_out, num_slots=study.num_slots))


def tuned(study: Study, arm: str, seed: int, *, task: Task) -> dict[str, Any]:
    """Fine-tune the discriminator on a task, and score it."""
    folder = study.out / "tasks" / arm / f"seed-{seed}"
    exported = folder / "discriminator"
    if not (exported / "tokenizer.json").is_file():
        model: Any = study.model(arm, seed).pair.as_discriminator()
        model.save_pretrained(exported)
        character_tokenizer(study.corpus.characters).save_pretrained(exported)
    data = load_task(task, study.data, quick=study.is_quick)
    out = folder / task.name
    found = finetune(exported, data, out=out, options=options_of(task, seed, quick=study.is_quick))
    (run,) = found.runs
    scores = run.scores["test"]
    shutil.rmtree(out)
    return {
        "accuracy": scores.accuracy,
        "matthews": scores.matthews,
        "majority": found.baselines["test"].majority,
        "rows": {name: found.num_rows[name] for name in ("train", "test")},
        "num_steps": run.num_steps,
        "seconds": run.seconds,
        "loss_nats": run.loss_nats,
    }


Step = Callable[[Study, str, int], dict[str, Any]]
PRETRAINED: Final[dict[str, Step]] = {
    "log": logged,
    "corruptions": corrupted,
    "variance": variance,
    "knowing": knowing,
}
TUNED: Final[dict[str, Step]] = {task.name: partial(tuned, task=task) for task in TASKS}
STEPS: Final[dict[str, Step]] = PRETRAINED | TUNED


def needed(arm: str, step: str) -> bool:
    """Whether a step belongs to an arm: an untrained discriminator is only fine-tuned."""
    if step == "knowing":
        return arm == PLAIN or arm in WITH_HEAD
    return arm != SCRATCH or step in TUNED


def collect(study: Study, arm: str, seeds: list[int], folder: Path) -> Path | None:
    """Write the numbers of one arm, those of the steps that are done; none if there are none."""
    told: dict[str, dict[str, Any]] = {}
    for step in STEPS:
        for seed in seeds:
            if needed(arm, step) and study.has(arm, seed, step):
                told.setdefault(step, {})[f"{seed}"] = study.once(arm, seed, step, dict)
    if not told:
        return None
    path = folder / "results" / f"{arm.replace('+', '-')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"arm": arm, "steps": told}, separators=(",", ":")) + "\n", "utf-8")
    return path
