"""ELECTRA with hardness prediction and focal loss against plain ELECTRA, at the size of a core.

    python reproductions/electra/run.py pretrain --data DIR --out DIR
    python reproductions/electra/run.py pretrain --data DIR --out DIR --arms plain --seeds 99
    python reproductions/electra/run.py measure --data DIR --out DIR
    python reproductions/electra/run.py page

DIR of ``--data`` holds ``facts/`` and ``text/`` with the sets of vesalius.data.plain_text, and
``cls/`` and ``glue/`` with those of tasks.py. Runs go to ``runs/`` of ``--out`` and finished steps
to ``steps/``; the same command goes on where it was stopped. All arms of a seed come before the
next seed. ``measure`` takes the runs that are finished, and writes a file for each arm to
``results/``; ``page`` makes README.md and the pictures of them.
"""

import argparse
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads

HERE = Path(__file__).parent
UNTRAINED = 3  # seeds of the discriminator that was never trained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["pretrain", "measure", "page"])
    parser.add_argument("--data", type=Path, help="folder of the sets")
    parser.add_argument("--out", type=Path, help="folder of runs and finished steps")
    parser.add_argument("--arms", default="", help="with commas between")
    parser.add_argument("--seeds", default="", help="with commas between; 0 to 4 without")
    parser.add_argument("--steps", default="", help="of measure, with commas between; all without")
    parser.add_argument("--num-steps", type=int, default=0, help="of a run; 2000 without")
    parser.add_argument("--quick", action="store_true", help="a few tiny steps: does it run?")
    parser.add_argument("--collect", action="store_true", help="only write what is done")
    parser.add_argument("--page", type=Path, default=HERE, help="folder of results and the page")
    parser.add_argument("--no-pictures", action="store_true", help="write the page's text alone")
    options = parser.parse_args()
    if options.command == "page":
        from page import write_page

        for path in write_page(options.page, pictures=not options.no_pictures):
            print(path)
        return
    if options.data is None or options.out is None:
        parser.error("name --data and --out")
    import torch

    torch.set_num_threads(1)
    {"pretrain": pretrain_all, "measure": measure_all}[options.command](options)


def pretrain_all(options: argparse.Namespace) -> None:
    from arms import MAIN, SEEDS
    from corpus import load_corpus
    from pretraining import is_finished, pretrain

    corpus = load_corpus(options.data, options.out)
    arms, scale = _arms(options, list(MAIN)), _scale(options)
    for seed in _seeds(options, list(SEEDS)):
        for arm in arms:
            if not is_finished(options.out, arm, seed):
                with _told(f"{arm}, seed {seed}"):
                    pretrain(arm, seed, corpus=corpus, out=options.out, scale=scale)


def measure_all(options: argparse.Namespace) -> None:
    from arms import ARMS, SEEDS
    from pretraining import is_finished
    from steps import STEPS, collect, needed
    from study import SCRATCH, Study

    study = Study(data=options.data, out=options.out, scale=_scale(options))
    arms, seeds = _arms(options, [*ARMS, SCRATCH]), _seeds(options, list(SEEDS))
    jobs = [
        (step, arm, seed)
        for step in (options.steps.split(",") if options.steps else STEPS)
        for seed in seeds
        for arm in arms
        if needed(arm, step) and (arm != SCRATCH or seed < UNTRAINED)
    ]

    def can_be_done(job: tuple[str, str, int]) -> bool:
        step, arm, seed = job
        ready = arm == SCRATCH or is_finished(options.out, arm, seed)
        return ready and not study.has(arm, seed, step)

    # looked up again after each: a run may have been finished meanwhile
    while not options.collect and (job := next(filter(can_be_done, jobs), None)):
        step, arm, seed = job
        with _told(f"{arm}, seed {seed}, {step}"):
            study.once(arm, seed, step, partial(STEPS[step], study, arm, seed))
    for arm in arms:
        if path := collect(study, arm, seeds, options.page):
            print(path)


def _arms(options: argparse.Namespace, usual: list[str]) -> list[str]:
    from arms import ARMS

    chosen = options.arms.split(",") if options.arms else usual
    if unknown := set(chosen) - {*ARMS, *usual}:
        raise SystemExit(f"unknown arms {sorted(unknown)}: choose of {', '.join(ARMS)}")
    return chosen


def _seeds(options: argparse.Namespace, usual: list[int]) -> list[int]:
    return [int(seed) for seed in options.seeds.split(",")] if options.seeds else usual


def _scale(options: argparse.Namespace) -> Any:
    from dataclasses import replace

    from arms import FULL, QUICK

    scale = QUICK if options.quick else FULL
    return replace(scale, num_steps=options.num_steps) if options.num_steps else scale


@contextmanager
def _told(what: str) -> Generator[None, None, None]:
    """Say how long something took."""
    start = time.perf_counter(), time.process_time()
    yield
    wall, busy = time.perf_counter() - start[0], time.process_time() - start[1]
    print(f"{what}: {wall:.1f} s, {busy:.1f} s of a core", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
