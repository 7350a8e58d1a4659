"""Put tokens into texts that are tokenised already: the same part, the same relative place.

The rule. A text of a pair (or the only one) has n tokens, special ones not counted; the token of
rank k among them, counted from 1, has the relative place k/n. Where m tokens are put in, one with
the relative place r wants rank round((n + m) r), at least 1, among the n + m; they keep their
order, so that whoever finds its place taken stands behind, and the last ones never stand beyond
n + m. A text that would be longer than the model first loses tokens at its end, the longer text of
a pair first, none of those put in, and each text keeps one.

In the authors' code, which knows [CLS] a [SEP] b [SEP] alone, the relative place is pos/(sep - 1)
in a and (pos - sep)/(len - 2 - sep) in b: the same numbers.

Source: the attack of arXiv 2004.11207, section 4.5, and its code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from vesalius.models.texts import SPECIAL, TokenisedTexts


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A token to put in: its id, the text of a pair that it belongs to (0 or 1), where in it."""

    token: int
    owner: int
    relative: float


@dataclass(frozen=True, slots=True)
class _Changed:
    ids: tuple[int, ...]
    types: tuple[int, ...]
    owner: tuple[int, ...]
    is_cut: bool


def relative_places(owner: Sequence[int]) -> tuple[float, ...]:
    """Give every token's rank in its text, as a share of that text's tokens; 0 for special ones.

    >>> relative_places((-1, 0, 0, -1, 1, 1, 1, 1, -1))
    (0.0, 0.5, 1.0, 0.0, 0.25, 0.5, 0.75, 1.0, 0.0)
    """
    total = {part: owner.count(part) for part in set(owner)}
    seen = dict.fromkeys(total, 0)
    found: list[float] = []
    for part in owner:
        seen[part] += 1
        found.append(0.0 if part == SPECIAL else seen[part] / total[part])
    return tuple(found)


def new_ranks(num_tokens: int, relative: Sequence[float]) -> tuple[int, ...]:
    """Give the ranks, from 1, that new tokens take in a text of so many; ``relative`` ascends.

    >>> new_ranks(10, (0.5, 1.0))
    (6, 12)
    >>> new_ranks(2, (0.5, 0.5, 1.0))
    (2, 3, 5)
    """
    total = num_tokens + len(relative)
    found: list[int] = []
    for each in relative:
        wanted = max(1, round(total * each))
        found.append(max(wanted, found[-1] + 1) if found else wanted)
    last = len(found) - 1
    return tuple(min(rank, total - (last - i)) for i, rank in enumerate(found))


def insert_tokens(
    tokens: TokenisedTexts, added: Sequence[Added], *, limit: int | None
) -> TokenisedTexts:
    """Put the same tokens into every text by the rule of this module; no shapes.

    Args:
        tokens: texts or pairs.
        added: what to put in; a text without a token of that part stays as it is.
        limit: the most tokens of a text, special ones included; None for no limit.

    Returns:
        New texts; ``num_cut`` counts those that lost their end now or before.
    """
    if not added:
        return tokens
    changed = [
        _changed(ids, tokens.types[i] if tokens.types is not None else None, owner, added, limit)
        for i, (ids, owner) in enumerate(zip(tokens.ids, tokens.owner, strict=True))
    ]
    return replace(
        tokens,
        ids=tuple(each.ids for each in changed),
        types=None if tokens.types is None else tuple(each.types for each in changed),
        owner=tuple(each.owner for each in changed),
        num_cut=tokens.num_cut + sum(each.is_cut for each in changed),
    )


def _changed(
    ids: Sequence[int],
    types: Sequence[int] | None,
    owner: Sequence[int],
    added: Sequence[Added],
    limit: int | None,
) -> _Changed:
    fitting = [each for each in added if each.owner in owner]
    kept = _kept(owner, len(fitting), limit)
    segments = types if types is not None else (0,) * len(ids)
    new: list[list[tuple[int, int, int]]] = [[] for _ in range(len(kept) + 1)]
    for part in sorted({each.owner for each in fitting}):
        here = sorted((a for a in fitting if a.owner == part), key=lambda a: a.relative)
        places = [i for i, old in enumerate(kept) if owner[old] == part]
        ranks = new_ranks(len(places), [each.relative for each in here])
        for number, (each, rank) in enumerate(zip(here, ranks, strict=True)):
            before = rank - 1 - number  # so many old tokens of this text stand before it
            gap = places[before] if before < len(places) else places[-1] + 1
            beside = kept[places[min(before, len(places) - 1)]]
            new[gap].append((each.token, segments[beside], part))
    rows: list[tuple[int, int, int]] = []
    for place, old in enumerate(kept):
        rows += [*new[place], (ids[old], segments[old], owner[old])]
    rows += new[-1]
    return _Changed(
        ids=tuple(row[0] for row in rows),
        types=tuple(row[1] for row in rows),
        owner=tuple(row[2] for row in rows),
        is_cut=len(kept) < len(ids),
    )


def _kept(owner: Sequence[int], num_added: int, limit: int | None) -> list[int]:
    """The tokens that stay, by number, so that so many more fit."""
    kept = list(range(len(owner)))
    while limit is not None and len(kept) + num_added > limit:
        counts = {part: sum(owner[i] == part for i in kept) for part in set(owner) - {SPECIAL}}
        longest = max(counts, key=lambda part: (counts[part], -part), default=SPECIAL)
        if counts.get(longest, 0) <= 1:
            break
        kept.remove(max(i for i in kept if owner[i] == longest))
    return kept
