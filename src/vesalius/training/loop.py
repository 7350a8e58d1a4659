"""The training loop: any module that returns a loss, batches by number, exact resume."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from torch import nn
from tqdm import tqdm

from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.training.checkpoint import load_checkpoint, read_state, save_checkpoint
from vesalius.training.config import FREE_ON_RESUME, TrainingOptions, check_training_options
from vesalius.training.optimizers import build_optimizers, groups_hash
from vesalius.training.pace import Pace
from vesalius.training.page import write_training_page
from vesalius.training.prefetch import NumberedBatches, prefetch
from vesalius.training.processes import Processes, start_processes
from vesalius.training.random_state import seeded
from vesalius.training.run_log import append_log, cut_log
from vesalius.training.spread import Spread
from vesalius.training.step import Progress, Stepper
from vesalius.training.terms import Window, alarm_kind, measure_alarms, measure_names

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker


@final
@dataclass(frozen=True, kw_only=True)
class TrainingSummary:
    """What a run did: steps, tokens (padding left out), seconds at work, last loss in nats.

    Source: this project.
    """

    num_steps: int
    num_tokens: int
    seconds: float
    loss_nats: float


def train(
    model: nn.Module,
    *,
    batches: NumberedBatches,
    options: TrainingOptions,
    out: Path,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    on_step: Callable[[nn.Module, int], None] | None = None,
    identity: Mapping[str, str] | None = None,
    lr_scales: Mapping[str, float] | None = None,
    trackers: "Sequence[str | GeneralTracker]" = (),
    stop_after_step: int | None = None,
    flops_per_token: float = 0.0,
) -> TrainingSummary:
    """Train `model` in place; log and checkpoint into `out`, and resume if it holds one.

    `batches[n]` for n = 0, 1, ... are passed as keyword arguments; the model returns an object
    with `.loss`, the mean over the labels that are not -100 (a causal model's first label of a
    row must be -100: it is never predicted), or it is a `LossOfTerms`. `identity` names data and
    tokenizer by hashes and must be the same on resume; without it that of `batches` counts.
    `on_step(model, step)` follows each step, on the main process, before the step's checkpoint.
    `lr_scales` gives parameters a factor on the learning rate. With `flops_per_token`, backward
    included, the log has "mfu", the share of the machine's matrix products per second.
    Under `accelerate launch` the micro-batches of a step are shared out among the processes.
    After the last step the curves stand in `out`/training.html.

    Shapes: the tensors of a batch are [batch, ...].

    Raises: VesaliusError when an option cannot be, when the loss or the gradient is not finite
    (the last checkpoint stays), when `out` holds a run with other options, data or model, when
    a checkpoint cannot be read or written, when the processes do not divide the micro-batches.

    Source: this project; one gradient over all processes by Hugging Face `accelerate`.
    """
    check_training_options(options)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    identified = _identified(options, batches=batches, identity=identity)
    processes = start_processes(device=device, trackers=trackers, out=out, config=identified)
    _check_processes(options, processes=processes)
    _check_resumed(out, identified=identified | {"num_processes": processes.count})
    rank_seed = derive_seed(options.seed, "rank", processes.rank)
    with seeded(options.seed if processes.is_main else rank_seed):
        run = _Run(
            model,
            options=options,
            out=out,
            processes=processes,
            identified=identified | {"num_processes": processes.count},
            lr_scales=lr_scales,
            flops_per_token=flops_per_token,
        )
        try:
            run.go(batches, evaluate=evaluate, on_step=on_step, stop=stop_after_step)
        finally:
            processes.finish()
    if processes.is_main and run.progress.step == options.num_steps:
        write_training_page(out)
    done = run.progress
    counts = {"num_steps": done.step, "num_tokens": done.num_tokens}
    return TrainingSummary(**counts, seconds=done.seconds, loss_nats=done.loss_nats)


@final
class _Run:
    """A run under way: its model, optimisers, progress and folder."""

    def __init__(
        self,
        model: nn.Module,
        *,
        options: TrainingOptions,
        out: Path,
        processes: Processes,
        identified: Mapping[str, Any],
        lr_scales: Mapping[str, float] | None,
        flops_per_token: float,
    ) -> None:
        self._options, self._out = options, out
        self._processes, self._identified = processes, identified
        model.train()
        self._spread = Spread(model, options=options, processes=processes)
        trained = self._spread.trained
        self._optimizers = build_optimizers(trained, options=options, lr_scales=lr_scales)
        self._groups = groups_hash(trained, optimizers=self._optimizers)
        _check_groups(out, groups=self._groups)
        state = load_checkpoint(out, model=model, optimizers=self._optimizers, processes=processes)
        if state:
            self._spread.scatter()
        self.progress = Progress(**(state["progress"] if state else {}))
        self._window, self._warned = Window(), set[str]()
        if state and processes.is_main:
            self._window.load(state.get("window", {}))  # older ones have none
        self._pace = Pace(
            trained,
            options=options,
            flops_per_token=flops_per_token,
            count=processes.count,
            progress=self.progress,
        )
        if processes.is_main:
            cut_log(out, step=self.progress.step)

    def go(
        self,
        batches: NumberedBatches,
        *,
        evaluate: Callable[[nn.Module], Mapping[str, float]] | None,
        on_step: Callable[[nn.Module, int], None] | None,
        stop: int | None,
    ) -> None:
        """Take the steps that are left, up to `stop`, with all that belongs to each."""
        options, here = self._options, self._processes
        last = options.num_steps if stop is None else min(options.num_steps, stop)
        stepper = Stepper(
            self._spread,
            optimizers=self._optimizers,
            options=options,
            processes=here,
            progress=self.progress,
            window=self._window,
        )
        numbers = [
            range(step * options.micro_batches + here.rank, (step + 1) * options.micro_batches,
                  here.count)
            for step in range(self.progress.step, last)
        ]  # fmt: skip
        with tqdm(
            total=options.num_steps,
            initial=self.progress.step,
            mininterval=5.0,
            unit="step",
            disable=None if here.is_main else True,
        ) as bar:
            for group in self._pace.timed(prefetch(batches, numbers)):
                stepper.take(group)
                bar.update()
                step, done = self.progress.step, self.progress.step == last
                if step % options.log_every == 0 or done:
                    self._log(bar)
                if on_step is not None:
                    with self._spread.whole() as model:
                        if here.is_main:
                            on_step(model, step)
                if evaluate is not None and (step % options.evaluate_every == 0 or done):
                    self._evaluate(evaluate)
                if step % options.checkpoint_every == 0 or done:
                    self._save()
        self._spread.gather()

    def _log(self, bar: "tqdm[Any]") -> None:
        """Log the last step and what the model measured since the last log."""
        self._window.gather(self._processes)
        if not self._processes.is_main:
            return
        done = self.progress
        rate = done.num_tokens / done.seconds
        entry = {**asdict(done), "tokens_per_second": rate, **self._pace.read(done)}
        mfu = f", mfu {entry['mfu']:.0%}" if "mfu" in entry else ""
        bar.set_postfix_str(f"loss {done.loss_nats:.3f}, {rate:,.0f} tokens/s{mfu}")
        measures = self._window.describe(self._spread.trained)
        alarms = measure_alarms(self._spread.trained, measures)
        more = {"measures": measures, "alarms": alarms}
        append_log(self._out, entry | {name: value for name, value in more.items() if value})
        tracked = {k: v for k, v in entry.items() if k != "step"}
        tracked |= {f"measures/{name}": value for name, value in measures.items()}
        self._processes.track(tracked, step=done.step)
        for alarm in alarms:
            if alarm_kind(alarm) not in self._warned:
                self._warned.add(alarm_kind(alarm))
                tqdm.write(f"warning, step {done.step}: {alarm}", file=sys.stderr)

    def _evaluate(self, evaluate: Callable[[nn.Module], Mapping[str, float]]) -> None:
        """Evaluate on the main process; what it draws at random changes nothing after it."""
        seed = derive_seed(self._options.seed, "evaluate", self.progress.step)
        with self._spread.whole() as model:
            if self._processes.is_main:
                model.eval()
                with seeded(seed):
                    scores = {name: float(score) for name, score in evaluate(model).items()}
                model.train()
                append_log(self._out, {"step": self.progress.step, "evaluation": scores})
                self._processes.track(scores, step=self.progress.step)
        self._processes.wait()

    def _save(self) -> None:
        self._window.gather(self._processes)
        state = {
            "progress": asdict(self.progress),
            "run": self._identified,
            "groups": self._groups,
            "window": self._window.state(),
            "measures": measure_names(self._spread.trained),
        }
        with self._spread.whole() as model:
            save_checkpoint(
                self._out,
                model=model,
                optimizers=self._optimizers,
                state=state,
                processes=self._processes,
            )


def _identified(
    options: TrainingOptions, *, batches: NumberedBatches, identity: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return what makes this run itself, as JSON gives it back."""
    if identity is None:
        identity = getattr(batches, "identity", {})
    return json.loads(json.dumps(asdict(options) | dict(identity or {})))


def _check_processes(options: TrainingOptions, *, processes: Processes) -> None:
    if options.micro_batches % processes.count:
        raise VesaliusError(
            given=f"micro_batches={options.micro_batches} for {processes.count} processes",
            expected="a multiple of the number of processes",
            fix=f"micro_batches={processes.count}",
        )


def _check_resumed(out: Path, *, identified: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that was started with something else, and say with what."""
    state = read_state(out)
    if state is None:
        return
    former: dict[str, Any] | None = state.get("run")
    if former is None:
        raise VesaliusError(
            given=f"{out}: a checkpoint that no training of ours wrote",
            expected="a new folder, or that of the same run",
            fix="choose another output folder",
        )
    former = {"parallel": "ddp"} | former  # older ones do not say
    changed = [
        f"{key}: {former.get(key)!r} then, {identified.get(key)!r} now"
        for key in sorted(former.keys() | identified.keys())
        if key not in FREE_ON_RESUME and former.get(key) != identified.get(key)
    ]
    if changed:
        raise VesaliusError(
            given=f"{out}: a run with other options ({'; '.join(changed)})",
            expected="what the run was started with",
            fix="choose another output folder, or repeat the first command",
        )


def _check_groups(out: Path, *, groups: str) -> None:
    """Refuse to put optimiser state back, by place, where other parameters stand."""
    state = read_state(out)
    if state is not None and state.get("groups", groups) != groups:  # older ones do not say
        raise VesaliusError(
            given=f"{out}: a run in which other parameters were trained, or at another rate each",
            expected="the `lr_scales` and the frozen parameters that the run was started with",
            fix="choose another output folder, or repeat the first command",
        )
