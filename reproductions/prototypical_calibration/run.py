"""Prototypical calibration on the bundled causal models: the studies of Han et al. 2023 again.

    python reproductions/prototypical_calibration/run.py --data DIR --work DIR
    python reproductions/prototypical_calibration/run.py --page

DIR of ``--data`` holds ``cls/`` and ``glue/``. Scores are kept in ``--work`` as they come, and
every step when it is done; the same command goes on where it was stopped. The numbers come to
``results/``, a file for each model; ``--page`` makes README.md and the pictures of them.
``--model`` adds any other causal model.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads

from sets import FULL, MODELS, QUICK, SETS

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with cls/ and glue/")
    parser.add_argument("--work", type=Path, help="folder of stores and finished steps")
    parser.add_argument("--model", action="append", help="a model; the bundled three without")
    parser.add_argument("--only", default="", help="sets, with commas between; all without")
    parser.add_argument("--steps", default="given,suited,robust", help="steps, commas between")
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
    for model in options.model or MODELS:
        measure(model, options)


def measure(model: str, options: argparse.Namespace) -> None:
    import torch
    from steps import STEPS, choose, describe, plain_sizes
    from study import Study

    torch.set_num_threads(1)
    sizes = QUICK if options.quick else FULL
    study = Study(model=model, data=options.data, work=options.work, sizes=sizes)
    chooser = Study(model=MODELS[0], data=options.data, work=options.work, sizes=sizes)
    found: dict[str, dict[str, object]] = {}
    names = [s.name for s in SETS if s.name in (options.only or s.name).split(",")]
    for name in names:
        choice = chooser.once(f"choice {name}", lambda n=name: choose(chooser, n))
        found[name] = {"choice": choice, "about": study.once(
            f"about {name}", lambda n=name: describe(study, n))}  # fmt: skip
        for step in options.steps.split(","):
            if step == "robust" and model != MODELS[0]:
                continue
            start = time.perf_counter()
            found[name][step] = study.once(
                f"{step} {name}",
                lambda n=name, s=step, v=choice["variant"]: STEPS[s](study, n, v),
            )
            print(f"{model} {name} {step}: {time.perf_counter() - start:.1f} s", file=sys.stderr)
    if len(names) == len(SETS):
        path = options.out / "results" / f"{Path(model).name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = {"sizes": plain_sizes(study), "sets": found}
        path.write_text(json.dumps(text, separators=(",", ":")) + "\n", "utf-8")
        print(path)


if __name__ == "__main__":
    main()
