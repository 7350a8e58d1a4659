"""`vesalius electra verify-variance`: the samplers of a run, on text that it never read.

Source: this project; arXiv 2106.13715 for the claim.
"""

from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final

from vesalius.core.checks import check_count
from vesalius.data.sources import SourceOptions, find_sources, read_documents
from vesalius.methods.electra.head_fit import fit_head
from vesalius.methods.electra.objective import ReplacedTokenObjective
from vesalius.methods.electra.result import VarianceResult
from vesalius.methods.electra.variance import Batches, verify_variance
from vesalius.recipes.pretrain_run import OpenedRun, training_text
from vesalius.recipes.pretrain_text import encode_texts, held_out_batches, training_batches

HEADS: Final = ("hardness-loss", "hardness-distribution")
_MOST_BATCHES: Final = 8
_MOST_TEXTS: Final = 4096  # of a file


def verify_run(
    run: OpenedRun,
    *,
    text: Sequence[str | Path] = (),
    num_slots: int = 256,
    num_gradient_slots: int = 0,
    head_steps: int = 200,
    seed: int = 0,
) -> VarianceResult:
    """Measure the variance under the run's sampler, the other ones, and the best possible.

    The hardness heads that the run did not train are fitted to its pair, which stays as it is, in
    `head_steps` steps each on the run's text; 0 leaves them out. `text` stands in for the text that
    the run held out: files, of which the first documents are read.

    Raises:
        VesaliusError: text that cannot be read, or a number that cannot be.
    """
    check_count("head_steps", head_steps, lowest=0, usual=200)
    batches, num_batches = _held_out(run, text)
    missing = [name for name in HEADS if head_steps and name != run.objective.options.sampler]
    others: dict[str, ReplacedTokenObjective] = {}
    if missing:
        reading = training_batches(training_text(run), tokenizer=run.tokenizer, options=run.options)
        for name in missing:
            others[name] = fit_head(
                run.objective,
                reading,
                sampler=name,  # pyright: ignore[reportArgumentType]
                num_steps=head_steps,
                seed=seed,
            )
    return verify_variance(
        run.objective,
        batches,
        others=others,
        num_slots=num_slots,
        num_batches=num_batches,
        num_gradient_slots=num_gradient_slots,
        tokenizer=run.tokenizer,
        name=run.folder.name,
        seed=seed,
    )


def _held_out(run: OpenedRun, text: Sequence[str | Path]) -> tuple[Batches, int]:
    documents = run.held_out
    if text:
        read = (read_documents(each, options=SourceOptions()) for each in find_sources(text))
        texts = list(islice(chain.from_iterable(read), _MOST_TEXTS))
        documents = encode_texts(texts, tokenizer=run.tokenizer)
    batches = held_out_batches(
        documents,
        tokenizer=run.tokenizer,
        context_length=run.options.context_length,
        num_batches=_MOST_BATCHES,
    )
    return batches, min(_MOST_BATCHES, batches.batches_per_epoch)
