"""What the commands of `attention` read: texts from flags, files and labelled sets; their options.

What can be refused is refused here, before a model is opened or anything is measured.

Source: the commands of docs/architecture.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from vesalius.cli.attention_flags import (
    AbstractDataFlags,
    AbstractScoreFlags,
    AbstractTreeRuleFlags,
    TextFlags,
)
from vesalius.cli.errors import say, wrong_usage
from vesalius.core.errors import VesaliusError

if TYPE_CHECKING:
    from vesalius.data.labelled import LabelledData, LabelledSplit
    from vesalius.methods.attention_attribution import AttributeConfig
    from vesalius.models.specimen import Specimen


@final
@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts, their second texts where they are pairs, and the class of each where it is known."""

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[str, ...] | None

    @property
    def targets(self) -> str | tuple[str, ...] | None:
        """What to attribute: one class for all texts, or one for each; None the predicted ones."""
        return self.labels[0] if self.labels and len(self.labels) == 1 else self.labels


def score_config(flags: AbstractScoreFlags, **changes: Any) -> "AttributeConfig":
    """Make the options of attribution that the flags ask for.

    Raises:
        VesaliusError: values without meaning, or a reference file that cannot be read.
        WrongUsage: a reference without the baseline mean, or the reverse.
    """
    if (flags.baseline == "mean") != (flags.reference is not None):
        wrong_usage(
            given=f"--baseline {flags.baseline} "
            f"{'without' if flags.reference is None else 'with'} --reference",
            expected="texts to take the mean attention of, for the baseline mean alone",
            fix="add --reference FILE with texts like those that are explained"
            if flags.reference is None
            else "write --baseline mean, or leave --reference out",
        )
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


def check_tree_flags(flags: AbstractTreeRuleFlags) -> None:
    """Refuse trees that cannot be grown.

    Raises:
        VesaliusError: a tau that is no share, or an unknown rule or root.
    """
    from vesalius.core.checks import check_share, check_word, words_of
    from vesalius.methods.attention_attribution.tree import DEFAULT_TAU, RootRule, TreeRule

    check_share("tau", flags.tau, usual=DEFAULT_TAU, zero=True)
    check_word("tree-rule", flags.tree_rule, words_of(TreeRule))
    check_word("root", flags.root, words_of(RootRule))


def check_apart(**paths: Path | None) -> None:
    """Refuse two outputs at one place, or one inside another: replacing one would lose both.

    Raises:
        WrongUsage: they are not beside each other.
    """
    places = [(name, path, path.resolve()) for name, path in paths.items() if path is not None]
    for (first, path, place), (second, other, inner) in combinations(places, 2):
        if place.is_relative_to(inner) or inner.is_relative_to(place):
            wrong_usage(
                given=f"--{first} {path} and --{second} {other}",
                expected="places beside each other",
                fix=f"write --{second} {path.with_name(f'{path.stem}-{second}{other.suffix}')}",
            )


def texts_of(flags: TextFlags) -> Texts:
    """Read the texts that the flags give, in their order.

    Raises:
        VesaliusError: a file that cannot be read.
        WrongUsage: no texts, texts from two places, or another number of second texts or labels.
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
    labels = tuple(flags.label or ())
    if len(labels) > 1 and len(labels) != len(first):
        wrong_usage(
            given=f"{len(labels)} --label for {counted(len(first), 'text')}",
            expected="one for all, or one for each",
            fix=f"write --label {labels[0]} for all of them",
        )
    return Texts(texts=first, pairs=second, labels=labels or None)


def read_lines(path: Path) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Read texts, one a line, and the second ones behind a tab; empty lines are left out.

    Raises:
        VesaliusError: no such file, no text in it, or a line with another number of texts.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise VesaliusError(
            given=f"{path}: {error.strerror}", expected="a file of texts", fix="check the spelling"
        ) from error
    except UnicodeDecodeError as error:
        raise VesaliusError(
            given=f"{path}: {error}", expected="a text file in UTF-8", fix="save it as UTF-8"
        ) from error
    # not splitlines: a text may hold other signs that end a line
    rows = [(n, line.split("\t")) for n, line in enumerate(content.split("\n"), 1) if line.strip()]
    if not rows:
        raise VesaliusError(
            given=f"{path}: no text in it", expected="a text on each line", fix="write some"
        )
    width = len(rows[0][1])
    for number, row in rows:
        filled = [text for text in row if text.strip()]
        if not len(filled) == len(row) == width <= 2:
            raise VesaliusError(
                given=f"{path}, line {number}: {counted(len(filled), 'text')} and "
                f"{counted(len(row) - 1, 'tab')}",
                expected="one text on every line, or two on every line with a tab between",
                fix="mend that line",
            )
    second = tuple(row[1] for _, row in rows) if width == 2 else None
    return tuple(row[0] for _, row in rows), second


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


def take(
    data: "LabelledData",
    split: str,
    *,
    max_texts: int,
    specimen: "Specimen",
    by_label: bool = True,
    fitting: bool = True,
) -> Texts:
    """Take the first texts of a split, with the names of their classes; 0 takes all.

    Texts that are longer than the model are left out, and their number is told, if ``fitting``.

    Raises:
        VesaliusError: the set has no such split, or, where labels count, classes that the model
            does not have.
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
    if by_label and specimen.task == "classifier":
        for name in data.label_names:
            try:
                class_index(specimen, name)
            except VesaliusError as error:
                raise VesaliusError(
                    given=f"label {name!r} of {data.name}, and {specimen.name}",
                    expected=error.expected,
                    fix="give a model that was fine-tuned on these labels, or a column of its own "
                    "(--label-column)",
                ) from error
    chosen = list(range(number))
    if fitting and specimen.task == "classifier":
        chosen = _fitting(rows, number, specimen)
    return Texts(
        texts=tuple(rows.texts[i] for i in chosen),
        pairs=None if rows.pairs is None else tuple(rows.pairs[i] for i in chosen),
        labels=tuple(data.label_names[rows.labels[i]] for i in chosen),
    )


def _fitting(rows: "LabelledSplit", number: int, specimen: "Specimen") -> list[int]:
    """Number the first texts that are not longer than the model.

    Raises:
        VesaliusError: all are longer.
    """
    from vesalius.models.texts import fitting_texts

    pairs = None if rows.pairs is None else rows.pairs[:number]
    chosen = fitting_texts(specimen, rows.texts[:number], pairs=pairs)
    limit = specimen.max_tokens
    if not chosen:
        raise VesaliusError(
            given=f"{counted(number, 'text')}, longer than {limit} tokens",
            expected=f"texts that fit the positions of {specimen.name}",
            fix="cut them, or open a model with more positions",
        )
    if len(chosen) < number:
        left = counted(number - len(chosen), "text")
        say(f"vesalius: left out {left} of {number} that are longer than {limit} tokens")
    return chosen


def shorten(words: Sequence[str], *, most: int = 60) -> str:
    """Write words as one short line."""
    line = " ".join(words)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def counted(number: int, what: str) -> str:
    """Write a number with its noun.

    >>> counted(1, "text"), counted(2, "text")
    ('1 text', '2 texts')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"
