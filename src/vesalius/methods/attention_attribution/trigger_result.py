"""The result of ``attention triggers``: patterns of tokens that a model hangs its decision on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import pyarrow as pa

from vesalius.core.result import AbstractResult, register_result
from vesalius.methods.attention_attribution.insertion import Added

TriggerKind = Literal["attribution", "attention"]


@final
@dataclass(frozen=True, kw_only=True)
class Trigger:
    """The tokens at the ends of the strongest links of one head in one text.

    ``ids`` are its tokens in their order, ``tokens`` as people read them, ``words`` the word that
    each is of; ``owners`` tell the text of a pair (0 or 1) it stands in, ``positions`` where among
    all tokens of the source text, ``relative`` where in its own text (1 is the last token).
    ``links`` are the (reader, read) pairs it was taken from with their ``scores``, special tokens
    too; ``score`` is the sum of the two strongest. ``label`` is the class that the model gives the
    source text, ``text`` that text's number, ``count`` how many texts showed the same pattern.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    words: tuple[str, ...]
    owners: tuple[int, ...]
    positions: tuple[int, ...]
    relative: tuple[float, ...]
    links: tuple[tuple[str, str], ...]
    scores: tuple[float, ...]
    score: float
    site: int
    head: int
    text: int
    label: str
    count: int = 1

    @property
    def name(self) -> str:
        """The tokens on one line; a piece of a word with the word it was taken from."""
        pairs = zip(self.tokens, self.words, strict=True)
        return " + ".join(t if t == word else f"{t} (of {word})" for t, word in pairs)

    def added(self) -> tuple[Added, ...]:
        """Give its tokens as what :func:`insert_tokens` puts in."""
        rows = zip(self.ids, self.owners, self.relative, strict=True)
        return tuple(Added(token=i, owner=o, relative=r) for i, o, r in rows)


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Triggers(AbstractResult):
    """Triggers of some texts, the strongest first.

    ``by`` says what the links were ranked by. ``attention`` are those that raw attention
    probabilities give for the same texts, as a control; empty where ``by`` is attention itself.
    Of ``num_texts`` texts, ``num_used`` counted; of those, ``num_weak`` had links below the least
    score and ``num_special`` links between special or unknown tokens alone. ``text_hashes`` tell
    an attack which texts these were.
    """

    kind: ClassVar[str] = "attention_attribution.triggers"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("attention_attribution",)

    by: TriggerKind
    triggers: tuple[Trigger, ...]
    attention: tuple[Trigger, ...]
    num_texts: int
    num_used: int
    num_weak: int
    num_special: int
    text_hashes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """What was found, in one sentence."""
        told = (
            f"{len(self.triggers)} patterns in {self.num_used} of {self.num_texts} texts "
            f"({self.num_weak} texts too weak, {self.num_special} without a word)"
        )
        if not self.triggers:
            return f"{told}."
        best = self.triggers[0]
        return f"{told}; the strongest: “{best.name}”, {best.score:.3g}, a mark of “{best.label}”."

    def to_table(self) -> pa.Table:
        """One row per trigger: rank, pattern, class, score, where it comes from, how often.

        Source: table 5 of arXiv 2004.11207.
        """
        return pa.Table.from_pylist([_row(i, each) for i, each in enumerate(self.triggers)],
                                    schema=_SCHEMA)  # fmt: skip

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw the scores of the strongest triggers as bars; returns matplotlib Axes.

        Source: this project.
        """
        from vesalius.methods.attention_attribution.trigger_report import plot_triggers

        return plot_triggers(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.attention_attribution.trigger_report import write_triggers

        return write_triggers(self, path, force=force)


_SCHEMA = pa.schema(
    [
        ("rank", pa.int64()),
        ("pattern", pa.string()),
        ("label", pa.string()),
        ("score", pa.float64()),
        ("count", pa.int64()),
        ("links", pa.string()),
        ("relative", pa.list_(pa.float64())),
        ("segments", pa.list_(pa.int64())),
        ("site", pa.int64()),
        ("head", pa.int64()),
        ("text", pa.int64()),
    ]
)


def _row(rank: int, each: Trigger) -> dict[str, Any]:
    return {
        "rank": rank + 1,
        "pattern": each.name,
        "label": each.label,
        "score": each.score,
        "count": each.count,
        "links": ", ".join(f"{reader} - {read}" for reader, read in each.links),
        "relative": list(each.relative),
        "segments": list(each.owners),
        "site": each.site,
        "head": each.head,
        "text": each.text,
    }
