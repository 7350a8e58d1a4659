"""What the commands of `attention` read: texts from flags, files and labelled sets; their options.

Source: the commands of docs/architecture.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from vesalius.cli.attention_flags import AbstractDataFlags, AbstractScoreFlags, TextFlags
from vesalius.cli.errors import say, wrong_usage
from vesalius.core.errors import VesaliusError

if TYPE_CHECKING:
    from vesalius.data.labelled import LabelledData
    from vesalius.methods.attention_attribution import AttributeConfig
    from vesalius.models.specimen import Specimen


@final
@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts, their second texts where they are pairs, and the class of each where it is known."""

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[str, ...] | None


def score_config(flags: AbstractScoreFlags, **changes: Any) -> "AttributeConfig":
    """Make the options of attribution that the flags ask for.

    Raises:
        VesaliusError: values without meaning, or a reference file that cannot be read.
    """
    from vesalius.methods.attention_attribution import attribute_preset

    asked: dict[str, Any] = {
        "target": flags.target,
        "baseline": flags.baseline,
        "memory": flags.memory,
        **changes,
    }
    if flags.reference is not None:
        first, second = read_lines(flags.reference)
        asked |= {"reference": first, "reference_pairs": second or ()}
    if flags.nodes is not None:
        asked["num_nodes"] = flags.nodes
    if flags.rule:
        asked["rule"] = flags.rule
    return attribute_preset(flags.preset, **asked)


def texts_of(flags: TextFlags) -> Texts:
    """Read the texts that the flags give, in their order.

    Raises:
        VesaliusError: a file that cannot be read.
        WrongUsage: no texts, texts from two places, or another number of second texts.
    """
    if flags.text and flags.texts:
        wrong_usage(
            given="--text and --texts", expected="one of the two", fix="put all into the file"
        )
    if not flags.text and not flags.texts:
        wrong_usage(
            given="no text",
            expected="--text or --texts",
            fix="try --text 'A dull, lifeless mess.'",
        )
    if flags.texts:
        if flags.pair:
            wrong_usage(
                given="--pair with --texts",
                expected="second texts in the file, behind a tab",
                fix="write FIRST<tab>SECOND on each line",
            )
        first, second = read_lines(flags.texts)
    else:
        first, second = tuple(flags.text or ()), tuple(flags.pair or ()) or None
    if second is not None and len(second) != len(first):
        wrong_usage(
            given=f"{len(first)} --text and {len(second)} --pair",
            expected="a second text for each",
            fix="repeat --pair as often as --text",
        )
    return Texts(texts=first, pairs=second, labels=tuple(flags.label) if flags.label else None)


def read_lines(path: Path) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Read texts, one a line, and the second ones behind a tab; empty lines are left out.

    Raises:
        VesaliusError: no such file, no text in it, or a tab in some lines only.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise VesaliusError(
            given=f"{path}: {error}", expected="a text file in UTF-8", fix="check the spelling"
        ) from error
    rows = [line.split("\t") for line in content.splitlines() if line.strip()]
    widths = {len(row) for row in rows}
    if not rows or not widths <= {1, 2} or len(widths) > 1:
        raise VesaliusError(
            given=f"{path} with {len(rows)} texts"
            + (f", lines of {sorted(widths)} columns" if rows else ""),
            expected="a text on each line, or two with a tab between on every line",
            fix="mend the file",
        )
    second = tuple(row[1] for row in rows) if widths == {2} else None
    return tuple(row[0] for row in rows), second


def open_data(flags: AbstractDataFlags) -> "LabelledData":
    """Read the labelled texts that the flags name.

    Raises:
        VesaliusError: a set that cannot be read.
    """
    from vesalius.data.labelled import LabelledOptions, load_labelled

    data = load_labelled(
        flags.data,
        options=LabelledOptions(
            text_column=flags.text_column,
            pair_column=flags.pair_column,
            label_column=flags.label_column,
            dev_share=flags.dev_share,
            seed=flags.seed,
        ),
    )
    for note in data.notes:
        say(f"vesalius: {note}")
    return data


def take(data: "LabelledData", split: str, *, max_texts: int, specimen: "Specimen") -> Texts:
    """Take the first texts of a split, with the model's names of their classes; 0 takes all.

    Raises:
        VesaliusError: the set has no such split, or classes that the model does not have.
    """
    from vesalius.methods.attention_attribution.targets import class_index

    if split not in data.splits:
        raise VesaliusError(
            given=f"split {split!r} of {data.name}",
            expected=f"one of {', '.join(data.splits)}",
            fix="name one of them, or hold rows out of train with --dev-share 0.1",
        )
    rows = data.splits[split]
    number = min(max_texts or len(rows), len(rows))
    if specimen.task == "classifier":
        for name in data.label_names:
            class_index(specimen, name)
    return Texts(
        texts=rows.texts[:number],
        pairs=None if rows.pairs is None else rows.pairs[:number],
        labels=tuple(data.label_names[i] for i in rows.labels[:number]),
    )


def shorten(words: Sequence[str], *, most: int = 60) -> str:
    """Write words as one short line."""
    line = " ".join(words)
    return line if len(line) <= most else f"{line[: most - 1]}…"
