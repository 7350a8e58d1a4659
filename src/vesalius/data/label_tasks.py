"""The sets of prototypical calibration with templates and label words, and one that is bundled.

Fields, label words and limits of the first template of each set are the paper's, as its code has
them; instructions and the other templates are our own. Which rows our files hold, and which not,
stands in the notes of each set.

Source: Han et al. 2023 (arXiv 2205.10183), its setup and its code; the table is our own.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

from vesalius.core.checks import check_word, words_of
from vesalius.core.errors import VesaliusError
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_prompts import LabelPrompt

DEFAULT: Final = "opinions"  # bundled: needs no data
PAPER_SETS: Final = ("sst2", "sst5", "mr", "subj", "amazon", "agnews", "dbpedia", "rte", "trec")
_MANY_SHOTS: Final = 8  # from here RTE's test texts were limited too

RowUse: TypeAlias = Literal["demonstrations", "estimate", "test"]


@final
@dataclass(frozen=True, kw_only=True)
class LabelTemplate:
    """One way to write the rows of a set: template, label words in the order of the classes."""

    template: str
    words: tuple[str, ...]
    instruction: str = ""
    separator: str = "\n\n"

    def prompt(self, demonstrations: Sequence[LabelledRow] = ()) -> LabelPrompt:
        """Make the prompt with these demonstrations.

        Raises:
            VesaliusError: the template is broken, or a demonstration does not fit it.
        """
        return LabelPrompt(
            template=self.template,
            words=self.words,
            demonstrations=tuple(demonstrations),
            instruction=self.instruction,
            separator=self.separator,
        )


@final
@dataclass(frozen=True, kw_only=True)
class LabelTask:
    """A set of labelled texts and the ways to ask for their labels.

    ``templates`` begins with the usual one (the paper's); the others are for robustness.
    ``columns`` are the names that the texts may have, the first choice first; ``limits`` the
    paper's limits on characters, ``evaluation`` how many test rows it drew (0 = all).
    """

    name: str
    what: str
    label_names: tuple[str, ...]
    templates: tuple[LabelTemplate, ...]
    columns: tuple[tuple[str, ...], ...]
    label_columns: tuple[str, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    path: str = ""  # below a folder laid out like the shared one; "" = none there
    hub: str = ""
    detokenise: bool = False
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    evaluation: int = 0
    notes: tuple[str, ...] = ()

    @property
    def num_labels(self) -> int:
        """Count the classes."""
        return len(self.label_names)

    @property
    def fields(self) -> tuple[str, ...]:
        """Name the texts of a row."""
        return self.columns[0]

    @property
    def template(self) -> str:
        """Return the usual template."""
        return self.templates[0].template

    @property
    def words(self) -> tuple[str, ...]:
        """Return the usual label words, in the order of the classes."""
        return self.templates[0].words

    @property
    def instruction(self) -> str:
        """Return the usual instruction, empty where there is none."""
        return self.templates[0].instruction

    def prompt(
        self, demonstrations: Sequence[LabelledRow] = (), *, variant: int = 0
    ) -> LabelPrompt:
        """Make the prompt of a variant; 0 is the usual one.

        Raises:
            VesaliusError: there is no such variant, or a demonstration does not fit.
        """
        if not 0 <= variant < len(self.templates):
            raise VesaliusError(
                given=f"variant={variant} of {self.name}",
                expected=f"one of 0 to {len(self.templates) - 1}",
                fix="use 0, the usual template",
            )
        return self.templates[variant].prompt(demonstrations)

    def max_characters(self, use: RowUse, *, shots: int = 0) -> int:
        """Return how many characters the paper's code let through; 0 = any number.

        Raises:
            VesaliusError: an unknown use.
        """
        check_word("use", use, words_of(RowUse))
        limit = self.limits.get(use, 0)
        if use == "test" and shots >= _MANY_SHOTS:
            limit = self.limits.get("test_from_8_shots", limit)
        return limit


@cache
def label_tasks() -> Mapping[str, LabelTask]:
    """Return every set of the table, by name; the first is the one that needs no data."""
    table = Path(str(files("vesalius"))) / "data" / "tables" / "label_tasks.toml"
    return {name: _task(name, row) for name, row in tomllib.loads(table.read_text("utf-8")).items()}


def find_label_task(name: str) -> LabelTask:
    """Return the set of that name.

    Raises:
        VesaliusError: there is none.
    """
    tasks = label_tasks()
    if name not in tasks:
        raise VesaliusError(
            given=f"task {name!r}",
            expected=f"one of {', '.join(tasks)}",
            fix=f"use {DEFAULT!r}, or your own texts with a template file",
        )
    return tasks[name]


def _task(name: str, row: Mapping[str, Any]) -> LabelTask:
    values = {key: _frozen(value) for key, value in row.items() if key != "templates"}
    templates = tuple(
        LabelTemplate(**{key: _frozen(value) for key, value in template.items()})
        for template in row["templates"]
    )
    return LabelTask(name=name, templates=templates, **values)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
