"""All restarts of a Gaussian mixture as one batch beside scikit-learn's, one after the other.

    python benchmarks/calibration_em.py                     the report, 5 to 10 minutes on 2 cores
    python benchmarks/calibration_em.py --quick --rounds 1  few restarts, seconds: does it run?

Both begin with the same responsibilities. Writes ``calibration_em_<hardware>_<yyyymmdd>.md`` and a
JSON of the same name beside it. Run it on an idle machine: nothing else may hold the cores.
"""

import argparse
import datetime
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from vesalius.methods.calibration.calibrators import assignment_scores, match_components
from vesalius.numerics.gaussian_mixture import MixtureFits, fit_mixtures
from vesalius.numerics.mixture_seeds import hard_responsibilities, refine_labels, seed_labels

PACKAGES = ("torch", "scikit-learn", "scipy", "numpy", "vesalius")
REQUIRED = 4.0  # times as fast, at K = 6 and 14
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Case:
    """Texts of one planted set: ``sharpness`` multiplies the logits; at 3 many are saturated."""

    num_labels: int
    num_texts: int
    sharpness: float
    num_restarts: int = 100

    @property
    def name(self) -> str:
        return f"K={self.num_labels}, n={self.num_texts}, sharpness {self.sharpness:g}"

    def scores(self) -> np.ndarray:
        """Log-probabilities [text, label]: a prototype per label, two standard deviations off."""
        generator = np.random.default_rng(SEED)
        labels = generator.integers(self.num_labels, size=self.num_texts)
        logits = 2 * np.eye(self.num_labels)[labels]
        logits = logits + generator.normal(size=logits.shape)
        logits = logits + generator.normal(size=self.num_labels)
        return log_softmax(self.sharpness * logits, axis=1)

    def start(self, scores: torch.Tensor) -> torch.Tensor:
        """Responsibilities [restart, text, label] from k-means."""
        labels = seed_labels(
            scores,
            num_components=self.num_labels,
            num_restarts=self.num_restarts,
            generator=np.random.default_rng(SEED),
        )
        labels = refine_labels(scores, labels, num_components=self.num_labels)
        return hard_responsibilities(labels, num_components=self.num_labels)


SIZES = ((2, 500), (6, 1000), (14, 1500))
FULL = tuple(
    Case(num_labels=k, num_texts=n, sharpness=sharpness)
    for k, n in SIZES
    for sharpness in (1.0, 3.0)
)
QUICK = tuple(
    Case(num_labels=k, num_texts=n // 10, sharpness=1.0, num_restarts=4) for k, n in SIZES
)


class GivenStart(GaussianMixture):
    """scikit-learn's mixture, from responsibilities it is given."""

    start: np.ndarray

    def _initialize_parameters(self, X: Any, random_state: Any, **more: Any) -> None:
        self._initialize(X, self.start, **more)


def sequential(scores: np.ndarray, starts: np.ndarray, threads: int) -> list[GivenStart]:
    """scikit-learn's way: one restart after the other."""
    done: list[GivenStart] = []
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for start in starts:
            mixture = GivenStart(starts.shape[2])
            mixture.start = start
            done.append(mixture.fit(scores))
    return done


def on_threads(threads: int, run: harness.Run) -> Any:
    """Run with so many threads of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return run()
    finally:
        torch.set_num_threads(before)


def best_threads(run: Callable[[int], Any], threads: int) -> int:
    """The number of threads with which a way is faster: small products like one."""
    if threads == 1:
        return 1
    run(1)
    seconds = {n: min(harness.seconds_of(lambda n=n: run(n)) for _ in "ab") for n in (1, threads)}
    return min(seconds, key=lambda n: seconds[n])


def compare(ours: MixtureFits, rival: list[GivenStart]) -> dict[str, Any]:
    """How far the two come to the same: iterations, parameters, matching, chosen restart."""
    means = ours.means.numpy()
    theirs = np.stack([one.means_ for one in rival])
    matched = [
        np.array_equal(match_components(a), match_components(b))
        for a, b in zip(means, theirs, strict=True)
    ]
    scores, their_scores = assignment_scores(means), assignment_scores(theirs)
    covariances = np.stack([one.covariances_ for one in rival])
    return {
        "same_iterations": bool(
            (ours.num_iterations.numpy() == [one.n_iter_ for one in rival]).all()
        ),
        "same_assignments": all(matched),
        "best_score_difference": float(abs(scores.max() - their_scores.max())),
        "means_difference": float(np.abs(means - theirs).max() / np.abs(theirs).max()),
        "covariances_difference": float(
            np.abs(ours.covariances.numpy() - covariances).max() / np.abs(covariances).max()
        ),
        "iterations": int(ours.num_iterations.sum()),
        "longest": int(ours.num_iterations.max()),
    }


def study(case: Case, *, rounds: int, threads: int) -> dict[str, Any]:
    """One case: agreement and operations, then the paired rounds."""
    log(f"{case.name}: agreement")
    scores = case.scores()
    items = torch.from_numpy(scores)
    start = case.start(items)
    starts = start.numpy()

    def ours_run() -> MixtureFits:
        return fit_mixtures(items, start)

    ours_threads = best_threads(lambda n: on_threads(n, ours_run), threads)
    rival_threads = best_threads(lambda n: sequential(scores, starts[:5], n), threads)
    ours, operations = harness.counted(ours_run)
    found = compare(ours, sequential(scores, starts, rival_threads))
    log(f"{case.name}: {rounds} rounds")
    paired = harness.pair(
        lambda: on_threads(ours_threads, ours_run),
        lambda: sequential(scores, starts, rival_threads),
        rounds=rounds,
    )
    return {
        "restarts": case.num_restarts,
        "threads": {"ours": ours_threads, "rival": rival_threads},
        "operations": operations,
        "start_seconds": on_threads(
            ours_threads,
            lambda: min(harness.seconds_of(lambda: case.start(items)) for _ in range(3)),
        ),
        **found,
        **paired.to_dict(),
    }


def benchmark(*, quick: bool, rounds: int, threads: int) -> dict[str, Any]:
    """Run every case and gather what the report says."""
    harness.settle(threads)
    command = f"python benchmarks/calibration_em.py --rounds {rounds} --threads {threads}"
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command + (" --quick" if quick else ""),
        "versions": harness.versions(PACKAGES),
        "machine": harness.machine(threads),
        "rounds": rounds,
        "quick": quick,
        "cases": {
            case.name: study(case, rounds=rounds, threads=threads)
            for case in (QUICK if quick else FULL)
        },
    }


def markdown(report: dict[str, Any]) -> str:
    """The report as a page of Markdown."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    lines = [
        f"# Restarts of a mixture: one batch beside one after the other, {report['date']}",
        "",
        "| | |",
        "|---|---|",
        f"| command | `{report['command']}` |",
        f"| versions | {versions} |",
        f"| machine | {machine['cpu']}, {machine['instructions']}, {machine['threads']} threads |",
        f"| rounds | {report['rounds']} paired, turns alternating; ratios round by round |",
        "",
        "Full covariances, tolerance 1e-3, at most 100 iterations, double precision. Both begin",
        "with the same responsibilities, from k-means, whose time is given apart and counts for",
        "neither. Each has one thread or all, whichever makes it faster.",
        "",
        "| texts | restarts | ours: median s (min to max) | scikit-learn | ratio | at least | |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in report["cases"].items():
        cells = [found["ours_seconds"], found["rival_seconds"], found["ratio"]]
        text = " | ".join(f"{c['median']:.4g} ({c['min']:.4g} to {c['max']:.4g})" for c in cells)
        wanted = "" if name.startswith("K=2,") else f"{REQUIRED:g}"
        met = "" if not wanted else _yes(found["ratio"]["median"] >= REQUIRED)
        lines.append(f"| {name} | {found['restarts']} | {text} | {wanted} | {met} |")
    lines += [
        "",
        "| texts | same iterations | same matching | means differ by | covariances | iterations: "
        "all, longest | Gop | start s | threads: ours, scikit-learn |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in report["cases"].items():
        threads = found["threads"]
        lines.append(
            f"| {name} | {_yes(found['same_iterations'])} | {_yes(found['same_assignments'])} "
            f"| {found['means_difference']:.1e} | {found['covariances_difference']:.1e} "
            f"| {found['iterations']}, {found['longest']} | {found['operations'] / 1e9:.3g} "
            f"| {found['start_seconds']:.2g} | {threads['ours']}, {threads['rival']} |"
        )
    if report["quick"]:
        lines += ["", "A few restarts: the times mean nothing, only that everything runs."]
    return "\n".join(lines) + "\n"


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"


def log(text: str) -> None:
    """Progress, on the error stream."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Parse, run, write both files and print their names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few restarts, to see that it runs")
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default 2)")
    parser.add_argument("--hardware", help="name of the hardware in the file name")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    options = parser.parse_args()
    report = benchmark(quick=options.quick, rounds=options.rounds, threads=options.threads)
    hardware = options.hardware or f"{report['machine']['cpu']} {options.threads} threads"
    name = f"calibration_em_{harness.slug(hardware)}_{report['date'].replace('-', '')}"
    options.out.mkdir(parents=True, exist_ok=True)
    for suffix, text in (("json", json.dumps(report, indent=1) + "\n"), ("md", markdown(report))):
        path = options.out / f"{name}.{suffix}"
        path.write_text(text, "utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
