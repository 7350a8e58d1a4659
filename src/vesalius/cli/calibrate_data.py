"""What the commands of `calibrate` work on: the rows of a set, a prompt, draws from it.

What can be refused is refused here, before a model is opened.

Source: the commands of docs/architecture.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from vesalius.cli.attention_data import counted
from vesalius.cli.calibrate_flags import AbstractTaskFlags
from vesalius.cli.errors import say, wrong_usage
from vesalius.core.errors import VesaliusError

if TYPE_CHECKING:
    from vesalius.data.few_shot import LabelledRow
    from vesalius.data.label_prompts import LabelPrompt
    from vesalius.data.label_sets import LabelledSets
    from vesalius.data.label_tasks import LabelTask
    from vesalius.methods.calibration.score import ScoreOptions


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """A set, the rows to draw from and to judge by, and the prompt with its demonstrations."""

    task: "LabelTask"
    label_names: tuple[str, ...]
    train: "list[LabelledRow]"
    test: "list[LabelledRow]"
    prompt: "LabelPrompt"

    @property
    def estimate_rows(self) -> "list[LabelledRow]":
        """The rows of train that do not stand in the prompt."""
        shown = {row.texts for row in self.prompt.demonstrations}
        return [row for row in self.train if row.texts not in shown]


def ask(flags: AbstractTaskFlags) -> Asked:
    """Read the set that the flags name, and draw the demonstrations.

    Raises:
        VesaliusError: a set, file, column, split or template that is not there or does not fit.
        WrongUsage: a template file without data, or a set that needs data.
    """
    from vesalius.data.label_draws import draw_demonstrations, draw_evaluation, keep_short

    options_of(flags)  # refuses words before anything is read
    task, sets = _read(flags)
    for note in sets.notes:
        say(f"vesalius: {task.name}: {note}")
    train = keep_short(sets.rows("train"), max_characters=flags.max_characters)
    rows = keep_short(
        sets.rows(flags.split or sets.evaluation), max_characters=flags.max_characters
    )
    shown = draw_demonstrations(train, num=flags.shots, seed=flags.seed)
    return Asked(
        task=task,
        label_names=sets.label_names,
        train=train,
        test=draw_evaluation(rows, num=flags.max_texts),
        prompt=task.prompt(shown, variant=flags.variant),
    )


def options_of(flags: AbstractTaskFlags) -> "ScoreOptions":
    """Make the options of scoring that the flags ask for.

    Raises:
        VesaliusError: an unknown preset or word.
    """
    from vesalius.methods.calibration.score import ScoreOptions

    return ScoreOptions(preset=flags.preset, too_long=flags.too_long)


def _read(flags: AbstractTaskFlags) -> "tuple[LabelTask, LabelledSets]":
    from vesalius.data.label_sets import read_own_task, read_task
    from vesalius.data.label_tasks import find_label_task
    from vesalius.data.labelled import LabelledOptions

    options = LabelledOptions(
        text_column=flags.text_column,
        pair_column=flags.pair_column,
        label_column=flags.label_column,
        split_column=flags.split_column,
        dev_share=flags.dev_share,
        seed=flags.seed,
    )
    if flags.template is not None:
        if not flags.data:
            wrong_usage(
                given=f"--template {flags.template} without --data",
                expected="the rows that the template is for",
                fix="add --data FILE",
            )
        return read_own_task(flags.template, flags.data, options=options)
    return (task := find_label_task(flags.task)), read_task(task, flags.data, options=options)


def read_pairs(path: Path, *, num_texts: int) -> list[tuple[str, ...]]:
    """Read texts, one a line, a tab before the second text of a pair.

    Raises:
        VesaliusError: a file that cannot be read or is empty, or a line of another number of texts.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise VesaliusError(
            given=f"{str(path)!r}, which cannot be read ({type(error).__name__})",
            expected="a text file in UTF-8, one text a line",
            fix="check the path",
        ) from error
    # not splitlines: a text may hold U+2028, which Python counts as the end of a line
    lines = {i: line for i, line in enumerate(text.split("\n"), start=1) if line.strip()}
    found = {i: tuple(line.split("\t")) for i, line in lines.items()}
    for number, texts in found.items():
        if len(texts) != num_texts:
            raise VesaliusError(
                given=f"{path.name}: {counted(len(texts), 'text')} in line {number}",
                expected=f"{num_texts} in every line, as the template has them",
                fix="put one tab between the texts of a pair, and none elsewhere",
            )
    if not found:
        raise VesaliusError(
            given=f"{path.name} without a text", expected="one text a line", fix="fill the file"
        )
    return list(found.values())


def words(name: str, given: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Split a list of words with commas between, each of them known; empty stays empty.

    Raises:
        VesaliusError: an unknown word.
    """
    from vesalius.core.checks import check_word

    found = tuple(word.strip() for word in given.split(",") if word.strip())
    for word in found:
        check_word(name, word, known)
    return found
