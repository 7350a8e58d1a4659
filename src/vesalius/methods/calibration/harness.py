"""Calibrate what EleutherAI's lm-evaluation-harness measured, from its samples files.

The documents are halved by chance: one half is estimated from, the other judged by, unless another
file is given to estimate from. No forward pass is needed.

Source: this project; the format is read in data/harness_samples.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.harness_samples import HarnessSamples
from vesalius.methods.calibration.compare import compare
from vesalius.methods.calibration.comparison import Comparison


def calibrate_samples(
    samples: HarnessSamples,
    *,
    estimate: HarnessSamples | None = None,
    methods: Sequence[str] | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
) -> Comparison:
    """Fit calibrators on per-choice log-likelihoods [doc, choice], and judge them on others.

    ``estimate`` are documents of the same task to estimate from, with labels where known; half of
    ``samples`` serves where it is left out. PMI uses the unconditional log-likelihoods where the
    harness took them (acc_mutual_info).

    Raises:
        VesaliusError: fewer than four documents to halve, other choices in ``estimate``, or no
            method that can be fitted.

    Source: this module.
    """
    test = np.arange(len(samples.targets))
    drawn, labels = (samples, samples.targets) if estimate is None else (estimate, estimate.targets)
    first = np.arange(len(drawn.targets))
    if estimate is None:
        if len(test) < 4:
            raise VesaliusError(
                given=f"{len(test)} documents of {samples.task}",
                expected="four or more: half of them are estimated from",
                fix="run the task on more documents, or name others to estimate from",
            )
        order = np.random.default_rng(derive_seed(seed, "halves")).permutation(len(test))
        first, test = np.sort(order[: len(test) // 2]), np.sort(order[len(test) // 2 :])
    elif estimate.choices != samples.choices:
        raise VesaliusError(
            given=f"documents with the choices {', '.join(estimate.choices)}",
            expected=f"the choices {', '.join(samples.choices)}",
            fix="estimate from documents of the same task",
        )
    inputs: dict[str, Any] = {"estimate": drawn.scores[first]}
    known = first[labels[first] >= 0]
    if len(known):
        inputs["labelled"] = (drawn.scores[known], labels[known])
    if samples.premise is not None:
        inputs["premise"] = samples.premise[test[:1]]
    return compare(
        samples.scores[test],
        samples.targets[test],
        inputs=inputs,
        methods=methods,
        label_names=samples.choices,
        seed=seed,
        num_resamples=num_resamples,
        about={"task": samples.task, "source": "lm-evaluation-harness samples"},
    )
