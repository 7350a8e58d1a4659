"""Self-attention attribution on the bundled encoder: the studies of Hao et al. 2021 again.

    python reproductions/attention_attribution/run.py --data DIR --work DIR
    python reproductions/attention_attribution/run.py --page

DIR of ``--data`` holds ``cls/`` and ``glue/`` with the sets of tasks.py. Every step is written to
``--work`` when it is done; the same command goes on where it was stopped. The numbers come to
``results.json``, ``--page`` makes README.md and the pictures of them.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads

from tasks import QUICK, SIZES, TASKS

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with cls/ and glue/")
    parser.add_argument("--work", type=Path, help="folder for models and finished steps")
    parser.add_argument("--only", default="", help="tasks, with commas between; all without")
    parser.add_argument("--steps", default="", help="steps, with commas between; all without")
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
    from steps import STEPS, correlations
    from study import Study, plain

    torch.set_num_threads(1)
    tasks = [task for task in TASKS if task.name in (options.only or task.name).split(",")]
    steps = options.steps.split(",") if options.steps else list(STEPS)
    found: dict[str, dict[str, object]] = {}
    for task in tasks:
        study = Study(
            task=task,
            data=options.data,
            work=options.work,
            sizes=QUICK if options.quick else SIZES,
        )
        found[task.name] = {"told": task.told}
        for name in steps:
            entered = found[task.name].get("entered")
            if isinstance(entered, dict) and not entered["enters"]:
                break  # a task that was not learned enters no claim
            start = time.perf_counter()
            found[task.name][name] = study.once(name, lambda s=study, n=name: STEPS[n](s))
            print(f"{task.name} {name}: {time.perf_counter() - start:.1f} s", file=sys.stderr)
    if len(tasks) == len(TASKS) and steps == list(STEPS):
        text = {"tasks": found, "correlations": correlations(found)}
        path = options.out / "results.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(text, indent=1, default=plain) + "\n", "utf-8")
        print(path)


if __name__ == "__main__":
    main()
