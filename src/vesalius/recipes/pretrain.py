"""`vesalius pretrain electra`: plan a pair's pretraining, train it, score and export it.

Source: Clark et al. 2020, arXiv 2003.10555; arXiv 2106.13715; this project.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from torch import nn

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import new_folder
from vesalius.data.replaced import ReplacedBatches
from vesalius.data.shards import tokenizer_hash
from vesalius.methods.electra.objective import ReplacedTokenObjective
from vesalius.methods.electra.variance import variance_alarms
from vesalius.models.electra_export import PARTS
from vesalius.models.kernels import short_attention
from vesalius.recipes.pretrain_card import command_of
from vesalius.recipes.pretrain_config import PretrainOptions, pretrain_preset
from vesalius.recipes.pretrain_export import last_measures, write_part
from vesalius.recipes.pretrain_flops import flops_per_token
from vesalius.recipes.pretrain_result import PretrainResult
from vesalius.recipes.pretrain_run import (
    build_objective,
    check_run_folder,
    check_same_run,
    count_text,
    device_of,
    open_run,
    options_identity,
    read_record,
    write_record,
    write_text,
)
from vesalius.recipes.pretrain_scores import HeldOut, score_pair
from vesalius.recipes.pretrain_text import (
    TOKENIZER,
    PretrainText,
    TextRequest,
    find_tokenizer,
    held_out_batches,
    open_text,
    training_batches,
)
from vesalius.training.config import TrainingOptions
from vesalius.training.loop import train
from vesalius.training.processes import Processes, start_processes

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

RESULT: Final = "result"


@final
@dataclass(frozen=True, kw_only=True)
class PretrainPlan:
    """A run that was looked at and not started: text, tokenizer, options, and its folder.

    ``options.shape`` has the tokenizer's vocabulary; ``identity`` is what the folder must agree
    with to be gone on with.
    """

    request: TextRequest
    text: PretrainText
    options: PretrainOptions
    identity: Mapping[str, Any]
    out: Path

    @cached_property
    def batches(self) -> ReplacedBatches:
        """The batches of the run: packed at first use, which takes its time on a large text."""
        return training_batches(
            self.text.training, tokenizer=self.text.tokenizer, options=self.options
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What the cards say of text and command."""
        return {
            "data": self.text.name,
            "licence": self.text.licence,
            "num_documents": self.text.num_documents,
            "documents": self.text.training.identity["documents"],
            "tokenizer_sha256": self.text.tokenizer_sha256,
            "command": command_of(self.request, self.options),
            "kind": self.request.kind,
            "shards": self.request.data,
        }

    @property
    def loop_identity(self) -> dict[str, Any]:
        """What the training loop must find unchanged beside its own options."""
        own = {each.name for each in fields(TrainingOptions)}
        data = {f"batches/{name}": value for name, value in self.batches.identity.items()}
        return {k: v for k, v in self.identity.items() if k not in own} | data

    def probe(self) -> HeldOut:
        """Return the held-out batch that is scored while training."""
        batches = held_out_batches(
            self.text.held_out,
            tokenizer=self.text.tokenizer,
            context_length=self.options.context_length,
        )
        counts = count_text(self.text, vocab_size=self.options.shape.vocab_size)
        return HeldOut(batch=batches[0], counts=counts)

    @property
    def finished(self) -> PretrainResult | None:
        """The result of the same command, when it ran to its end before."""
        folder = self.out / RESULT
        return PretrainResult.load(folder) if folder.is_dir() else None


def plan_pretrain(
    request: TextRequest | None = None,
    *,
    out: str | Path,
    options: PretrainOptions | None = None,
    force: bool = False,
    workspace: str | Path | None = None,
) -> PretrainPlan:
    """Open text and tokenizer and hold them against the folder of the run.

    Shards and a tokenizer that have to be made are made in `out`, or in `workspace`, which a dry
    run gives. With `force` a run that stands in `out` is deleted first.

    Raises:
        VesaliusError: text, tokenizer or options that cannot be used, or an `out` that holds
            anything but a run of the same command. What this call made is taken away again.
    """
    request, options, out = request or TextRequest(), options or pretrain_preset(), Path(out)
    device_of(options.device)
    check_run_folder(out, force=force)
    asked = {"text": request.name, "tokenizer": request.tokenizer_name} | options_identity(options)
    if force and workspace is None and out.exists():
        shutil.rmtree(out)
    if not force:
        check_same_run(out, asked)
    is_new = not out.exists()
    try:
        if workspace is None and read_record(out) is None:
            write_record(out, identity=asked, options=options, facts={})
        here = Path(workspace or out)
        tokenizer = find_tokenizer(request, folder=here)
        if not force:
            check_same_run(out, {"tokenizer_sha256": tokenizer_hash(tokenizer)})
        text = open_text(
            request, tokenizer=tokenizer, folder=here, context_length=options.context_length
        )
        shape = replace(options.shape, vocab_size=len(text.tokenizer))
        plan = PretrainPlan(
            request=request,
            text=text,
            options=replace(options, shape=shape),
            identity=asked | text.identity | {"vocab_size": shape.vocab_size},
            out=out,
        )
        if not force:
            check_same_run(out, plan.identity)
        _ = plan.batches  # less than one batch shows here
    except VesaliusError:
        if is_new and workspace is None:
            shutil.rmtree(out, ignore_errors=True)
        raise
    return plan


def pretrain_electra(
    out: str | Path,
    *,
    text: Sequence[str | Path] = (),
    data: str | Path = "",
    tokenizer: str | Path = TOKENIZER,
    train_tokenizer: int = 0,
    options: PretrainOptions | None = None,
    trackers: "Sequence[str | GeneralTracker]" = (),
    force: bool = False,
) -> PretrainResult:
    """Pretrain generator and discriminator; the same call goes on where it was stopped.

    ``out``/discriminator and ``out``/generator are ordinary checkpoints in the end. Without text
    and data it learns sentences that this project writes from its fact tables. Under
    `accelerate launch` or `torchrun` every process makes this call.

    Args:
        out: folder of the run.
        text: files, folders or names on the hub, as `vesalius data prepare` takes them.
        data: a folder of token shards, instead.
        tokenizer: a bundled model, a folder, or a name on the hub.
        train_tokenizer: learn so many lower-cased word pieces from the texts instead.
        options: `pretrain_preset("tiny")` and the like.
        trackers: names that accelerate knows, or trackers of one's own.
        force: replace a run that stands in `out`.

    Raises:
        VesaliusError: as `plan_pretrain`; training that diverges; a full disk.
    """
    request = TextRequest(
        text=tuple(map(str, text)),
        data=str(data),
        tokenizer=str(tokenizer),
        train_tokenizer=train_tokenizer,
    )
    processes = processes_of(options)
    plan = plan_together(request, out=out, options=options, force=force, processes=processes)
    return run_pretrain(plan, trackers=trackers, processes=processes)


def processes_of(options: PretrainOptions | None = None) -> Processes:
    """Return the processes that a launcher started, or just this one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    return start_processes(device=device_of(options.device if options else "cpu"))


def plan_together(
    request: TextRequest,
    *,
    out: str | Path,
    options: PretrainOptions | None,
    force: bool,
    processes: Processes,
) -> PretrainPlan:
    """Plan on the main process, which makes the files, then on the others, which open them.

    Raises:
        VesaliusError: as `plan_pretrain`.
    """
    if not processes.is_main:
        processes.wait()
        return plan_pretrain(request, out=out, options=options)
    plan = plan_pretrain(request, out=out, options=options, force=force)
    processes.wait()
    return plan


def run_pretrain(
    plan: PretrainPlan,
    *,
    trackers: "Sequence[str | GeneralTracker]" = (),
    processes: Processes | None = None,
) -> PretrainResult:
    """Carry a plan out, or give back the result of a finished one.

    Raises:
        VesaliusError: training that diverges, or a folder that cannot be written.
    """
    here = processes or Processes()
    if finished := plan.finished:
        return finished
    if here.is_main:
        write_text(plan.out, plan.text, vocab_size=plan.options.shape.vocab_size)
        write_record(plan.out, identity=plan.identity, options=plan.options, facts=plan.facts)
    stopwatch, options, batches = Stopwatch.start(), plan.options, plan.batches
    objective = build_objective(options, tokenizer=plan.text.tokenizer)
    if options.training.compile:
        objective.pair.compile_bodies()
    objective.to(device_of(options.device))
    probe = plan.probe()

    def scored(trained: nn.Module) -> Mapping[str, float]:
        assert isinstance(trained, ReplacedTokenObjective)
        return score_pair(trained, probe)

    with short_attention(options.device, longest=options.context_length):
        train(
            objective,
            batches=batches,
            options=replace(options.training, compile=False),  # the bodies are, their shapes stay
            out=plan.out,
            evaluate=scored,
            identity={name: str(value) for name, value in plan.loop_identity.items()},
            trackers=trackers,
            flops_per_token=flops_per_token(
                options.shape, context_length=options.context_length, electra=options.electra
            ),
        )
        if here.is_main:
            _finish(plan, stopwatch=stopwatch)
    here.wait()
    return PretrainResult.load(plan.out / RESULT)


def _finish(plan: PretrainPlan, *, stopwatch: Stopwatch) -> None:
    """Write both checkpoints and the result."""
    run = open_run(plan.out)
    probe = run.probe()
    scores = score_pair(run.objective, probe)
    baselines = probe.baselines(scores)
    for part in PARTS:
        with new_folder(plan.out / part, force=True, marker="config.json") as folder:
            write_part(run, part, folder, scores=scores, baselines=baselines)
    done, batches = run.progress, plan.batches
    measures = last_measures(plan.out, step=run.step)
    num_batches = done["step"] * plan.options.training.micro_batches
    PretrainResult(
        card=make_card(
            "pretrain electra",
            stopwatch=stopwatch,
            config=dict(plan.identity),
            seed=plan.options.training.seed,
            warnings=[*run.objective.alarms(measures), *variance_alarms(scores)],
        ),
        data_name=plan.text.name,
        data_licence=plan.text.licence,
        command=str(plan.facts["command"]),
        num_documents=plan.text.num_documents,
        num_parameters=sum(p.numel() for p in run.objective.parameters()),
        num_steps=int(done["step"]),
        num_tokens=int(done["num_tokens"]),
        num_epochs=num_batches / batches.batches_per_epoch,
        padding_share=batches.padding_share,
        seconds=float(done["seconds"]),
        loss_nats=float(done["loss_nats"]),
        scores=scores,
        baselines=baselines,
        measures=measures,
    ).save(plan.out / RESULT, force=True)
