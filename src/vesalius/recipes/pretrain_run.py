"""The folder of a pretraining run: what it was begun with, and the pair it holds at any step.

``run.json`` has all options and what pins the data, ``tokenizer/`` the tokenizer, ``checkpoint/``
weights and optimisers, ``held-out.safetensors`` the text that was kept back; later come
``discriminator/``, ``generator/``, ``result/`` and ``training.html``. Nothing else is needed to
open the pair again.

Source: this project.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Int64
from safetensors.numpy import load, save

from vesalius.core.errors import VesaliusError
from vesalius.core.paths import check_new_output, new_folder, write_file
from vesalius.data.held_out import hold_out, token_counts
from vesalius.data.shards import AbstractDocuments, Documents
from vesalius.methods.electra.objective import ReplacedTokenObjective
from vesalius.models.electra import EncoderPair
from vesalius.recipes.pretrain_config import FREE, PretrainOptions, options_from
from vesalius.recipes.pretrain_scores import HeldOut
from vesalius.recipes.pretrain_text import (
    SHARDS,
    PretrainText,
    held_out_batches,
    open_documents,
    open_tokenizer,
    special_ids,
)
from vesalius.training.checkpoint import load_checkpoint, read_state
from vesalius.training.random_state import seeded

MARKER: Final = "run.json"
HELD_OUT: Final = "held-out.safetensors"
_KIND: Final = "electra pretraining"


@final
@dataclass(frozen=True, kw_only=True)
class OpenedRun:
    """A run's pair as its last checkpoint has it, in evaluation mode.

    ``facts`` is what run.json says beside the options: data, licence, command.
    """

    folder: Path
    objective: ReplacedTokenObjective
    tokenizer: Any
    options: PretrainOptions
    held_out: Documents
    counts: Int64[np.ndarray, " vocab"]
    progress: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def step(self) -> int:
        """The step of the checkpoint."""
        return int(self.progress["step"])

    def batches(self, *, num_batches: int = 1) -> Any:
        """Return the held-out text as that many batches, the same in every call."""
        return held_out_batches(
            self.held_out,
            tokenizer=self.tokenizer,
            context_length=self.options.context_length,
            num_batches=num_batches,
        )

    def probe(self) -> HeldOut:
        """Return the batch that `score_pair` takes."""
        return HeldOut(batch=self.batches()[0], counts=self.counts)


def open_run(folder: str | Path) -> OpenedRun:
    """Open a run at its last checkpoint, finished or not.

    Raises:
        VesaliusError: the folder holds no run of `vesalius pretrain electra`, none of its steps
            was saved yet, or a part of it cannot be read.
    """
    folder = Path(folder)
    record = read_record(folder)
    state = read_state(folder) if record else None
    if record is None or state is None:
        raise VesaliusError(
            given=f"{str(folder)!r}"
            + (", a run without a checkpoint so far" if record else f" without {MARKER}"),
            expected="the folder of `vesalius pretrain electra`, with a checkpoint",
            fix="let it train for a while" if record else "give the folder that was its --out",
        )
    options = options_from(record["options"])
    tokenizer = open_tokenizer(folder / "tokenizer")
    objective = build_objective(options, tokenizer=tokenizer)
    load_checkpoint(folder, model=objective)
    held_out, counts = _read_held_out(folder)
    return OpenedRun(
        folder=folder,
        objective=objective.eval(),
        tokenizer=tokenizer,
        options=options,
        held_out=held_out,
        counts=counts,
        progress=state["progress"],
        facts=record["facts"],
    )


def training_text(run: OpenedRun) -> AbstractDocuments:
    """Open the text that a run was trained on, without what it held out.

    Raises:
        VesaliusError: it is not there any more, or has changed.
    """
    inside = run.folder / SHARDS if run.facts["kind"] == "text" else ""
    documents = open_documents(inside or run.facts["shards"], tokenizer=run.tokenizer)
    found, _ = hold_out(documents, context_length=run.options.context_length)
    if found.identity["documents"] != run.facts["documents"]:
        raise VesaliusError(
            given=f"the text of {str(run.folder)!r}, which has changed",
            expected="the documents that the run was trained on",
            fix="give held-out text of your own",
        )
    return found


def build_objective(options: PretrainOptions, *, tokenizer: Any) -> ReplacedTokenObjective:
    """Build the untrained pair; its weights depend on the seed of the training alone."""
    with seeded(options.training.seed):
        pair = EncoderPair(options.shape, special_ids(tokenizer))
        return ReplacedTokenObjective(pair, options=options.electra)


def check_run_folder(out: Path, *, force: bool = False) -> None:
    """Take a new folder, an empty one, or one of a run; with `force` the run will be replaced.

    Raises:
        VesaliusError: anything else stands there.
    """
    ours = (out / MARKER).is_file() or (out.is_dir() and not any(out.iterdir()))
    if force or not ours:
        check_new_output(out, force=force, marker=MARKER)


def check_same_run(out: Path, identity: Mapping[str, Any]) -> None:
    """Refuse a folder that was begun with anything else; keys that one side lacks are passed over.

    Raises:
        VesaliusError: an option or the data differ; each that does is named.
    """
    record = read_record(out)
    if record is None:
        return
    before, now = record["identity"], json.loads(json.dumps(dict(identity)))
    changed = [key for key in before if key in now and before[key] != now[key]]
    if changed:
        shown = "; ".join(f"{k}: {before[k]!r} then, {now[k]!r} now" for k in changed[:4])
        more = f"; and {len(changed) - 4} more" if len(changed) > 4 else ""
        raise VesaliusError(
            given=f"{out}: a run with other options ({shown}{more})",
            expected="the text, tokenizer and options of the first start",
            fix="choose another output folder, or replace the run with force (--force)",
        )


def options_identity(options: PretrainOptions) -> dict[str, Any]:
    """Return every option that touches weights; the vocabulary is the tokenizer's."""
    free = {"preset", "recipe", "vocab_size", *FREE}
    return {name: value for name, value in options.flat().items() if name not in free}


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return what run.json says, none where there is none.

    Raises:
        VesaliusError: it cannot be read, or is something else's.
    """
    path = folder / MARKER
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["kind"] == _KIND and {"identity", "options", "facts"} <= found.keys():
            return found
        given = f"{str(path)!r} of kind {found['kind']!r}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        given = f"{str(path)!r} ({type(error).__name__})"
    raise VesaliusError(
        given=given,
        expected="what `vesalius pretrain electra` wrote there",
        fix="choose another folder",
    )


def write_record(
    out: Path, *, identity: Mapping[str, Any], options: PretrainOptions, facts: Mapping[str, Any]
) -> None:
    """Write run.json.

    Raises:
        VesaliusError: the folder cannot be written.
    """
    record = {
        "kind": _KIND,
        "identity": dict(identity),
        "options": options.flat(),
        "facts": dict(facts),
    }
    write_file(out / MARKER, (json.dumps(record, indent=1) + "\n").encode(), force=True)


def write_text(out: Path, found: PretrainText, *, vocab_size: int) -> None:
    """Write tokenizer and held-out text, with the counts of tokens, unless they are there.

    Raises:
        VesaliusError: the folder cannot be written.
    """
    if not (out / "tokenizer").is_dir():
        with new_folder(out / "tokenizer") as partial:
            found.tokenizer.save_pretrained(partial)
    if not (out / HELD_OUT).is_file():
        counts = count_text(found, vocab_size=vocab_size)
        (shard,) = found.held_out.shards
        arrays = {"tokens": np.asarray(shard.tokens), "offsets": shard.offsets, "counts": counts}
        write_file(out / HELD_OUT, save(arrays))


def count_text(found: PretrainText, *, vocab_size: int) -> Int64[np.ndarray, " vocab"]:
    """Count the ordinary tokens that are trained on, [vocab]."""
    special = found.tokenizer.all_special_ids
    return token_counts(found.training, vocab_size=vocab_size, left_out=special)


def _read_held_out(folder: Path) -> tuple[Documents, Int64[np.ndarray, " vocab"]]:
    try:
        arrays = load((folder / HELD_OUT).read_bytes())
        tokens, offsets = arrays["tokens"], arrays["offsets"].tolist()
        pieces = [tokens[a:b].tolist() for a, b in pairwise(offsets)]
        return Documents.from_lists(pieces), arrays["counts"]
    except Exception as error:  # a damaged file shows in many ways
        raise VesaliusError(
            given=f"{HELD_OUT} of {str(folder)!r} ({type(error).__name__})",
            expected="the file that training wrote",
            fix="copy the whole folder again",
        ) from error


def device_of(device: str) -> torch.device:
    """Return the device of this process: with several on one machine each has its own GPU.

    Raises:
        VesaliusError: torch does not find it.
    """
    import os

    name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise VesaliusError(
            given=f"device={device!r} ({str(error).splitlines()[0][:120]})",
            expected="a device that torch finds on this machine",
            fix="use cpu",
        ) from error
