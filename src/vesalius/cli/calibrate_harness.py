"""`vesalius calibrate harness`: calibrate what lm-evaluation-harness measured.

Source: the samples files of EleutherAI's lm-evaluation-harness.
"""

from typing import TYPE_CHECKING, Any

from vesalius.cli.attention_data import check_apart
from vesalius.cli.calibrate_compare import known_methods, show_comparison
from vesalius.cli.calibrate_data import words
from vesalius.cli.calibrate_flags import HarnessFlags
from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.neuron_corpus import check_outputs, write_outputs
from vesalius.cli.output import emit
from vesalius.core.errors import VesaliusError

if TYPE_CHECKING:
    from vesalius.data.harness_samples import HarnessSamples


def run_harness(flags: HarnessFlags) -> None:
    """Calibrate the per-choice log-likelihoods of a samples file.

    Raises:
        VesaliusError: a file that is none, open choices, or two files of other choices.
        WrongUsage: the same file to estimate from and to judge by.
    """
    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    check_apart(out=flags.out, html=flags.html, plot=flags.plot)
    methods = words("methods", flags.methods, known_methods())
    if flags.estimate is not None and flags.estimate.resolve() == flags.samples.resolve():
        wrong_usage(
            given=f"--estimate {flags.estimate}, the samples that are judged by",
            expected="other documents of the task",
            fix="leave --estimate out: half of the samples serve then",
        )
    from vesalius.data.harness_samples import read_harness_samples
    from vesalius.methods.calibration.harness import calibrate_samples

    samples = read_harness_samples(flags.samples)
    other = None if flags.estimate is None else read_harness_samples(flags.estimate)
    if other is not None and other.choices != samples.choices:
        raise VesaliusError(
            given=f"choices {', '.join(other.choices)} in {flags.estimate}",
            expected=f"those of {flags.samples.name}: {', '.join(samples.choices)}",
            fix="estimate from samples of the same task",
        )
    found = calibrate_samples(samples, estimate=other, methods=methods or None, seed=flags.seed)
    write_outputs(found, flags.out, flags.html, flags.plot, force=flags.force)
    for note in samples.notes:
        say(f"vesalius: {note}")
    if not flags.json:
        emit(_told(samples))
    show_comparison(found, json=flags.json)


def _told(samples: "HarnessSamples") -> str:
    shown: dict[str, Any] = {"acc": samples.acc, "acc_norm": samples.acc_norm}
    if samples.acc_mutual_info is not None:
        shown["acc_mutual_info"] = samples.acc_mutual_info
    numbers = ", ".join(f"{name} {value:.1%}" for name, value in shown.items())
    return f"{samples.task}, {len(samples.targets)} documents, as the harness counts: {numbers}"
