"""Peak memory of scoring in a fresh process; prints JSON. ``calibration.py`` starts it.

    python benchmarks/calibration_memory.py --queries 1024 --tokens 2048 --threads 2

``grown``: the peak of the process's resident memory over the call, less what was resident before
(Linux only, elsewhere null). ``prefix``: the bytes of the prefix's keys and values, ``copied``:
what a copy for every query of the largest run would take.
"""

import argparse
import json
from dataclasses import replace

import harness
from calibration_cases import FULL, QUICK, gpt2, prompt_and_texts
from neurons_memory import grown

from vesalius.methods.calibration.score import ScoreOptions, score
from vesalius.models.label_scores import plan_labels
from vesalius.models.prefix import encode_prefix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    harness.settle(options.threads)
    shape = replace(QUICK if options.quick else FULL, num_queries=options.queries)
    specimen = gpt2(shape)
    prompt, texts = prompt_and_texts(shape, ("the", "a"))
    scoring = ScoreOptions(tokens_per_batch=options.tokens)
    score(specimen, prompt, texts[:2], options=scoring)
    plan = plan_labels(specimen, [prompt.text((text,)) for text in texts], prompt.answers)
    prefix = encode_prefix(specimen, plan.prefix)
    at_once = options.tokens // max(len(own) for own in plan.own)
    seconds: list[float] = []

    def run() -> None:
        seconds.append(harness.seconds_of(lambda: score(specimen, prompt, texts, options=scoring)))

    print(
        json.dumps(
            {
                "grown": grown(run),
                "prefix": prefix.num_bytes,
                "copied": prefix.num_bytes * at_once,
                "seconds": seconds[0],
            }
        )
    )


if __name__ == "__main__":
    main()
