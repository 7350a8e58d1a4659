"""Head importance of random texts in a fresh process; prints its seconds: `attention.py` calls it.

python benchmarks/attention_worker.py --threads 1 --texts 8 --tokens 32
"""

import argparse
import json

import harness
from attention_cases import classifier, random_texts

from vesalius.methods.attention_attribution import AttributeConfig, head_importance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    harness.settle(options.threads)
    specimen = classifier(quick=options.quick)
    config = AttributeConfig(refine=False)
    warm = random_texts(specimen, 1, options.tokens)
    head_importance(specimen, warm, baselines=(), config=config)
    batch = random_texts(specimen, options.texts, options.tokens)
    seconds = harness.seconds_of(
        lambda: head_importance(specimen, batch, baselines=(), config=config)
    )
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
