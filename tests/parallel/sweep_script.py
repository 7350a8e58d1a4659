"""A sweep in a process of its own, for the tests to kill."""

import argparse
from pathlib import Path

from parallel.toys import Toy, numbers
from vesalius.parallel.sweep import sweep

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("workers", type=int)
    parser.add_argument("--engine", default="local")
    parser.add_argument("--address")
    parser.add_argument("--log", default="")
    parser.add_argument("--seconds", type=float, default=0.01)
    options = parser.parse_args()
    sweep(
        Toy(seconds=options.seconds, log=options.log),
        numbers(40, i7="raise", i21="two"),
        options.out,
        engine=options.engine,
        workers=options.workers,
        address=options.address,
        shard_size=3,
    )
