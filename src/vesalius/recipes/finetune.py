"""`vesalius finetune`: plan a classifier's training, run its seeds, write scores and weights.

A folder of a run holds ``run.json`` (what makes the run itself), ``seed-N/`` for each seed,
``model/`` (an ordinary checkpoint), ``result/`` and ``report.html``.

Source: Devlin et al. 2019, section 4.1; this project.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import torch

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import check_new_output, new_folder, write_file
from vesalius.data.labelled import LabelledData, LabelledOptions, load_labelled
from vesalius.data.labelled_batches import EncodedSplit, LabelledBatches, encode_labelled
from vesalius.data.labelled_sources import BUNDLED
from vesalius.recipes.finetune_config import FREE, FinetuneOptions
from vesalius.recipes.finetune_model import Source, find_source
from vesalius.recipes.finetune_result import (
    FinetuneResult,
    SeedRun,
    blind_baselines,
    summarise_seeds,
)
from vesalius.recipes.finetune_run import read_seed, run_seed

MARKER: Final = "run.json"


@final
@dataclass(frozen=True, kw_only=True)
class FinetunePlan:
    """A run that was looked at and not started: data, model, work, and what is done already.

    ``identity`` is what a folder must agree with to be gone on with.
    """

    source: Source
    data: LabelledData
    splits: Mapping[str, EncodedSplit]
    options: FinetuneOptions
    max_length: int
    identity: Mapping[str, Any]
    out: Path
    notes: tuple[str, ...]

    @property
    def batches(self) -> LabelledBatches:
        """The batches of the first seed, for counting."""
        return LabelledBatches(self.splits["train"], batch_size=self.options.batch_size, seed=0)

    @property
    def num_steps(self) -> int:
        """Steps of one seed."""
        return self.options.num_steps(batches_per_epoch=self.batches.batches_per_epoch)

    @property
    def num_tokens(self) -> int:
        """About how many tokens one seed reads, padding left out."""
        return round(
            sum(self.splits["train"].lengths) * self.num_steps / self.batches.batches_per_epoch
        )

    @property
    def seeds_left(self) -> tuple[int, ...]:
        """Seeds whose scores are not there yet."""
        return tuple(s for s in self.options.seeds if read_seed(self.out / f"seed-{s}") is None)

    @property
    def finished(self) -> FinetuneResult | None:
        """The result of the same command, when it ran to its end before."""
        if self.seeds_left or not (self.out / "result").is_dir():
            return None
        found = FinetuneResult.load(self.out / "result")
        return found if tuple(run.seed for run in found.runs) == self.options.seeds else None


def plan_finetune(
    model: str | Path,
    data: str | Path | LabelledData = BUNDLED,
    *,
    out: str | Path,
    options: FinetuneOptions | None = None,
    labelled: LabelledOptions | None = None,
    revision: str = "main",
    force: bool = False,
) -> FinetunePlan:
    """Read data, configuration and tokenizer, and count the work; writes nothing.

    Raises:
        VesaliusError: data or a model that cannot be read, or an ``out`` that holds anything
            but a run of the same command (with ``force``: anything but a run).
    """
    options = options or FinetuneOptions()
    folder = _check_out(Path(out), force=force)
    if not isinstance(data, LabelledData):
        data = load_labelled(data, options=labelled)
    source = find_source(model, revision=revision)
    _check_device(options.device)
    max_length = source.max_length(options.max_length)
    splits = {
        name: encode_labelled(split, tokenizer=source.tokenizer, max_length=max_length)
        for name, split in data.splits.items()
    }
    identity = {
        "model": source.name,
        "model_fingerprint": source.fingerprint(),
        "tokenizer": source.tokenizer_fingerprint(),
        "data": data.name,
        "data_fingerprint": data.fingerprint(),
        **{name: value for name, value in asdict(options).items() if name not in FREE},
        "lr": options.peak_lr(width=source.width),
        "max_length": max_length,
    }
    if not force:
        _check_same(folder, identity)
    return FinetunePlan(
        source=source,
        data=data,
        splits=splits,
        options=options,
        max_length=max_length,
        identity=identity,
        out=folder,
        notes=(*data.notes, *source.notes, *_cut_notes(splits, max_length)),
    )


def finetune(
    model: str | Path,
    data: str | Path | LabelledData = BUNDLED,
    *,
    out: str | Path,
    options: FinetuneOptions | None = None,
    labelled: LabelledOptions | None = None,
    revision: str = "main",
    force: bool = False,
) -> FinetuneResult:
    """Fine-tune a classifier over one or more seeds; the same call goes on where it was stopped.

    ``out``/model is an ordinary checkpoint of the seed that is best on dev. A finished seed is
    never run again; more seeds can be added later.

    Raises:
        VesaliusError: as :func:`plan_finetune`; training that diverges; a full disk.
    """
    plan = plan_finetune(
        model, data, out=out, options=options, labelled=labelled, revision=revision, force=force
    )
    return run_finetune(plan, force=force)


def run_finetune(plan: FinetunePlan, *, force: bool = False) -> FinetuneResult:
    """Carry a plan out, or give back the result of a finished one.

    Raises:
        VesaliusError: training that diverges, or a folder that cannot be written.
    """
    if force and plan.out.exists():
        shutil.rmtree(plan.out)
    if finished := plan.finished:
        return finished
    stopwatch, options = Stopwatch.start(), plan.options
    text = json.dumps(plan.identity, indent=1) + "\n"
    write_file(plan.out / MARKER, text.encode(), force=True)
    runs = [_run(plan, seed) for seed in options.seeds]
    best = max(runs, key=lambda run: getattr(run.scores["dev"], options.metric))
    notes = (*plan.notes, *dict.fromkeys(note for run in runs for note in run.notes))
    result = FinetuneResult(
        card=make_card(
            "finetune",
            stopwatch=stopwatch,
            config=dict(plan.identity) | {"seeds": list(options.seeds), "device": options.device},
            model=plan.source.name,
            model_fingerprint=str(plan.identity["model_fingerprint"]),
            seed=options.seeds[0],
            warnings=notes,
        ),
        data_name=plan.data.name,
        data_fingerprint=str(plan.identity["data_fingerprint"]),
        label_names=plan.data.label_names,
        num_rows={name: len(split) for name, split in plan.data.splits.items()},
        runs=tuple(runs),
        middle=summarise_seeds(runs),
        baselines=blind_baselines(plan.data),
        exported_seed=best.seed,
    )
    with new_folder(plan.out / "model", force=True, marker="config.json") as partial:
        shutil.copytree(plan.out / f"seed-{best.seed}" / "model", partial, dirs_exist_ok=True)
    result.to_html(plan.out / "report.html", force=True)
    result.save(plan.out / "result", force=True)
    return result


def _run(plan: FinetunePlan, seed: int) -> SeedRun:
    folder = plan.out / f"seed-{seed}"
    return read_seed(folder) or run_seed(
        plan.source,
        seed=seed,
        splits=plan.splits,
        label_names=plan.data.label_names,
        num_texts=1 if plan.data.splits["train"].pairs is None else 2,
        options=plan.options,
        identity={name: str(value) for name, value in plan.identity.items()},
        folder=folder,
    )


def _check_out(out: Path, *, force: bool) -> Path:
    """Take a new folder, an empty one, or one of a run."""
    known = (out / MARKER).is_file() or (out.is_dir() and not any(out.iterdir()))
    return out if known and not force else check_new_output(out, force=force, marker=MARKER)


def _check_same(out: Path, identity: Mapping[str, Any]) -> None:
    """Refuse a folder of another run, and name the first thing that differs."""
    if not (out / MARKER).is_file():
        return
    before = json.loads((out / MARKER).read_text(encoding="utf-8"))
    now = json.loads(json.dumps(dict(identity)))
    for key in dict.fromkeys([*before, *now]):
        if before.get(key) != now.get(key):
            raise VesaliusError(
                given=f"{out}: a run with {key}={before.get(key)!r}, now {now.get(key)!r}",
                expected="the model, data and options of the first start",
                fix="choose another output folder, or replace the run with force (--force)",
            )


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise VesaliusError(
            given=f"device={device!r} ({str(error).splitlines()[0][:120]})",
            expected="a device that torch finds on this machine",
            fix="use cpu",
        ) from error


def _cut_notes(splits: Mapping[str, EncodedSplit], max_length: int) -> Sequence[str]:
    return [
        f"{split.num_cut} of {len(split)} texts of {name} were cut to {max_length} tokens"
        for name, split in splits.items()
        if split.num_cut
    ]
