"""Peak memory of one ``attribute`` in a fresh process; prints JSON. ``attention.py`` starts it.

    python benchmarks/attention_memory.py 1GiB --tokens 512 --threads 2

``grown``: the peak of the process's resident memory over the call, less what was resident before it
(Linux only, elsewhere null); the results themselves are in it. ``results``: their bytes.
"""

import argparse
import json
from typing import Any

import harness
from attention_cases import classifier, random_texts
from neurons_memory import grown

from vesalius.methods.attention_attribution import AttributeConfig, attribute


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("memory")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    harness.settle(options.threads)
    specimen = classifier(quick=options.quick)
    config = AttributeConfig(memory=options.memory, refine=False)
    attribute(specimen, random_texts(specimen, 1, 8), config=config)
    batch = random_texts(specimen, 1, options.tokens)
    found: list[Any] = []
    seconds: list[float] = []

    def run() -> None:
        seconds.append(
            harness.seconds_of(lambda: found.append(attribute(specimen, batch, config=config)))
        )

    grown_bytes = grown(run)
    example = found[0].examples[0]
    results = sum(a.nbytes for a in (*example.scores, *example.weights))
    total = float(sum(scores.astype(float).sum() for scores in example.scores))
    print(
        json.dumps({"grown": grown_bytes, "results": results, "seconds": seconds[0], "sum": total})
    )


if __name__ == "__main__":
    main()
