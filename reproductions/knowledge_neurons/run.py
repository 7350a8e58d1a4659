"""Knowledge neurons on the bundled models: the tables of Dai et al. 2022, measured again.

    python reproductions/knowledge_neurons/run.py --data DIR --work DIR
    python reproductions/knowledge_neurons/run.py --data DIR --work DIR --model mini-gpt --among
    python reproductions/knowledge_neurons/run.py --page

DIR of ``--data`` has ``facts.parquet``, ``templates.parquet`` and ``bing_sentences.parquet``. Every
step is written to ``--work`` when it is done; the same command goes on where it was stopped. The
numbers come to ``results/<model>.json``, ``--page`` makes README.md and the pictures of them.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads; a sweep computes on one thread

from study import Sizes, Study

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the fact tables")
    parser.add_argument("--work", type=Path, help="folder for finished steps")
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="steps, with commas between them; all without")
    parser.add_argument(
        "--among", action="store_true", help="right is what is best among a relation's answers"
    )
    parser.add_argument("--quick", action="store_true", help="a few facts: does it run?")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of results/ and the page")
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
    from steps import STEPS, write_results

    torch.set_num_threads(1)
    study = Study(
        model=options.model,
        data=options.data,
        work=options.work,
        sizes=QUICK if options.quick else Sizes(),
        seed=options.seed,
        among=options.among,
    )
    wanted = options.only.split(",") if options.only else list(STEPS)
    for name in wanted:
        start = time.perf_counter()
        STEPS[name](study)
        print(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    if wanted == list(STEPS):
        print(write_results(study, options.out / "results"))


QUICK = Sizes(
    asked_per_relation=8,
    strangers_per_relation=1,
    located_per_relation=4,
    told_per_relation=2,
    tried_per_relation=2,
    sized_per_relation=1,
    num_controls=1,
    edited_per_relation=1,
    compared_per_relation=1,
    rank_one_per_relation=0,  # it takes as long as all the rest
    erased_relations=1,
    others_per_relation=2,
)

if __name__ == "__main__":
    main()
