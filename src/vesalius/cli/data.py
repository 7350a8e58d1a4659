"""The commands `vesalius data prepare` and `info`: texts into token shards.

Source: the design of this project, docs/decisions.md.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, get_args

import typer

from vesalius.cli.errors import wrong_usage
from vesalius.cli.flags import InfoFlags, PrepareFlags, takes
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.cli.quiet import quiet_loading

EXAMPLES: Final = {
    "prepare": "Example: vesalius data prepare texts/ --tokenizer mini-bert --out shards",
    "info": "Example: vesalius data info shards --tokenizer mini-bert",
}
_SHOWN_DOCUMENTS: Final = 3
_SHOWN_CHARACTERS: Final = 160

app = typer.Typer(
    help="Turn texts into what training reads.", no_args_is_help=True, epilog=EXAMPLES["prepare"]
)


@app.command("prepare", epilog=EXAMPLES["prepare"])
@takes(PrepareFlags)
def prepare(flags: PrepareFlags) -> None:
    """Encode texts and write them as memory-mapped token shards.

    The same command goes on where it was stopped.
    """
    reading, options = _options(flags)
    with working(f"opening {flags.tokenizer}"), quiet_loading():
        tokenizer = _tokenizer_for(flags)
    with working("encoding"):
        from vesalius.data.prepare import prepare as prepare_shards

        made = prepare_shards(
            flags.sources,
            tokenizer=tokenizer,
            out=flags.out,
            reading=reading,
            options=options,
            force=flags.force,
        )
    if flags.json:
        emit_json(asdict(made))
    else:
        emit_table(("what", "value"), list(asdict(made).items()))


@app.command("info", epilog=EXAMPLES["info"])
@takes(InfoFlags)
def info(flags: InfoFlags) -> None:
    """Print what a folder of token shards holds."""
    tokenizer: Any = None
    if flags.tokenizer:
        with working(f"opening {flags.tokenizer}"), quiet_loading():
            tokenizer = _open_tokenizer(flags.tokenizer)
    from vesalius.data.shards import TokenShards

    shards = TokenShards(flags.folder, tokenizer=tokenizer)
    found = _summary(shards)
    shown = range(min(_SHOWN_DOCUMENTS, len(shards)) if tokenizer else 0)
    first = [str(tokenizer.decode(shards[n].tolist()))[:_SHOWN_CHARACTERS] for n in shown]
    if flags.json:
        emit_json({"summary": found, "manifest": shards.manifest, "first_documents": first})
        return
    emit_table(("what", "value"), list(found.items()))
    for text in first:
        emit(f"\n{text}")


def _summary(shards: Any) -> dict[str, Any]:
    manifest, lengths = shards.manifest, shards.lengths
    return {
        "documents": len(shards),
        "tokens": shards.num_tokens,
        "tokens per document, mean": float(lengths.mean()),
        "tokens per document, longest": int(lengths.max()),
        "shards": len(manifest["shards"]),
        "tokenizer": manifest["tokenizer_name"],
        "vocabulary": manifest["vocab_size"],
        "special tokens": manifest["configuration"]["special_tokens"],
        "sources": ", ".join(source["name"] for source in manifest["configuration"]["sources"]),
    }


def _options(flags: PrepareFlags) -> tuple[Any, Any]:
    """Put the flags into options, words outside their lists refused."""
    from vesalius.data.prepare import PrepareOptions, SpecialTokens
    from vesalius.data.sources import Boundary, SourceOptions

    for name, kind in (("boundary", Boundary), ("special_tokens", SpecialTokens)):
        if getattr(flags, name) not in get_args(kind):
            wrong_usage(
                given=f"--{name.replace('_', '-')} {getattr(flags, name)}",
                expected=f"one of {', '.join(get_args(kind))}",
                fix="leave it out for the first of them",
            )
    words: dict[str, Any] = {"boundary": flags.boundary, "special_tokens": flags.special_tokens}
    reading = SourceOptions(column=flags.column, split=flags.split, boundary=words["boundary"])
    options = PrepareOptions(
        special_tokens=words["special_tokens"], tokens_per_shard=flags.tokens_per_shard
    )
    return reading, options


def _tokenizer_for(flags: PrepareFlags) -> Any:
    """Open the tokenizer; learn it first when that is wanted and it is not there."""
    from vesalius.models import zoo

    folder = Path(flags.tokenizer)
    if flags.train_tokenizer and flags.tokenizer in zoo.names():
        wrong_usage(
            given=f"--train-tokenizer with --tokenizer {flags.tokenizer}, a bundled model",
            expected="the folder in which the new tokenizer is to be saved",
            fix=f"write --tokenizer my-{flags.tokenizer}",
        )
    if flags.train_tokenizer and not folder.exists():
        from vesalius.core.paths import new_folder
        from vesalius.data.sources import find_sources, read_documents
        from vesalius.data.tokenizer import train_bpe_tokenizer

        reading, _ = _options(flags)
        sources = find_sources(flags.sources)
        texts = (text for source in sources for text in read_documents(source, options=reading))
        trained = train_bpe_tokenizer(texts, vocab_size=flags.train_tokenizer)
        with new_folder(folder) as partial:
            trained.save_pretrained(partial)
    tokenizer = _open_tokenizer(flags.tokenizer)
    if flags.train_tokenizer and len(tokenizer) > flags.train_tokenizer:
        wrong_usage(
            given=f"--train-tokenizer {flags.train_tokenizer}, and {flags.tokenizer}, which is "
            f"there, has {len(tokenizer)} entries",
            expected="a folder that is not there yet, or a tokenizer of that size",
            fix="choose another folder, or leave --train-tokenizer out",
        )
    return tokenizer


def _open_tokenizer(name: str) -> Any:
    from vesalius.models import zoo
    from vesalius.models.tokenizers import load_tokenizer

    location = str(zoo.path(name)) if name in zoo.names() else name
    return load_tokenizer(location, told=f"--tokenizer {name}")
