"""Loss landscapes of the bundled encoder: the studies of Hao et al. 2019 again.

    python reproductions/loss_landscape/run.py --data DIR --work DIR
    python reproductions/loss_landscape/run.py --page

DIR of ``--data`` holds ``cls/`` and ``glue/`` with the sets of tasks.py. Trainings go to ``runs/``
of ``--work`` and finished steps to ``steps/``; the same command goes on where it was stopped, and
with ``--trained-only`` it takes the trainings that are finished and starts none. The numbers come
to ``results/``, a file for each training; ``--page`` makes README.md and the pictures of them.
"""

import argparse
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads

from tasks import FULL, QUICK, TRAININGS

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with cls/ and glue/")
    parser.add_argument("--work", type=Path, help="folder of trainings and finished steps")
    parser.add_argument("--only", default="", help="trainings, with commas between; all without")
    parser.add_argument("--steps", default="", help="steps, with commas between; all without")
    parser.add_argument("--trained-only", action="store_true", help="start no training")
    parser.add_argument("--collect", action="store_true", help="only write what is done")
    parser.add_argument("--quick", action="store_true", help="a few texts: does it run?")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of results and the page")
    parser.add_argument("--page", action="store_true", help="write the page of stored results")
    parser.add_argument("--no-pictures", action="store_true", help="write the page's text alone")
    options = parser.parse_args()
    if options.page:
        from page import write_page

        for path in write_page(options.out, pictures=not options.no_pictures):
            print(path)
        return
    if options.data is None or options.work is None:
        parser.error("name --data and --work, or --page")
    measure(options)


def measure(options: argparse.Namespace) -> None:
    import torch
    from steps import STEPS, needed
    from study import Study

    torch.set_num_threads(1)
    names = (options.only or ",".join(each.name for each in TRAININGS)).split(",")
    studies = [
        Study(
            training=each,
            data=options.data,
            work=options.work,
            counts=QUICK if options.quick else FULL,
            quick=options.quick,
        )
        for each in TRAININGS
        if each.name in names
    ]
    for study in studies:
        train(study, only_finished=options.trained_only or options.collect)
    steps = options.steps.split(",") if options.steps else list(STEPS)
    jobs = [(step, study, seed) for step in steps for study in studies for seed in
            study.seeds if needed(study, step)]  # fmt: skip

    def can_be_done(job: tuple[str, Study, int]) -> bool:
        step, study, seed = job
        return not study.has(step, seed) and all(each.is_trained for each in needed(study, step))

    # looked up again after each: a training may have been finished meanwhile
    while not options.collect and (job := next(filter(can_be_done, jobs), None)):
        step, study, seed = job
        start = time.perf_counter(), time.process_time()
        study.once(step, seed, partial(STEPS[step], study, seed))
        wall, busy = time.perf_counter() - start[0], time.process_time() - start[1]
        told = f"{study.training.name} {seed} {step}: {wall:.1f} s, {busy:.1f} s of a core"
        print(told, file=sys.stderr, flush=True)
    for study in studies:
        if study.is_trained:
            write(study, [job for job in jobs if job[1] is study], options.out)


def train(study: Any, *, only_finished: bool) -> None:
    """Train what is not trained, unless only finished trainings are taken."""
    from vesalius.recipes.finetune import run_finetune

    if only_finished and not study.is_trained:
        print(f"{study.training.name} is not trained yet: left out", file=sys.stderr)
        return
    run_finetune(study.plan())  # one that is finished is looked at: same data, same options


def write(study: Any, jobs: list[tuple[str, Any, int]], folder: Path) -> None:
    """Write the numbers of one training, those of the steps that are done."""
    from study import plain

    steps: dict[str, dict[str, Any]] = {}
    for step, _, seed in jobs:
        if study.has(step, seed):
            steps.setdefault(step, {})[f"{seed}"] = study.once(step, seed, dict)

    scores = study.scores()
    split = "test" if "test" in scores.middle else "dev"
    told = {
        "judged": split,
        "accuracy": [run.scores[split].accuracy for run in scores.runs],
        "majority": scores.baselines[split].majority,
        "rows": scores.num_rows,
        "classes": len(scores.label_names),
        "num_steps": scores.runs[0].num_steps,
        "lr": scores.card.config["lr"],
    }
    path = folder / "results" / f"{study.training.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain(told) | {"steps": steps}, separators=(",", ":"))
    path.write_text(text + "\n", "utf-8")
    print(path)


if __name__ == "__main__":
    main()
