"""Checks that the options of several methods share: words of a list, counts, tolerances.

Source: the design of this project, rule 9 of the style guide: what was given, expected, the cure.
"""

import dataclasses
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, TypeVar, get_args

from vesalius.core.errors import VesaliusError

OptionsT = TypeVar("OptionsT")


def preset_of(
    kind: type[OptionsT],
    presets: Mapping[str, Mapping[str, Any]],
    name: str,
    changes: Mapping[str, Any],
) -> OptionsT:
    """Make the options of a named preset, with changes.

    Raises:
        VesaliusError: an unknown preset or option, or a value that the options refuse.
    """
    check_word("preset", name, tuple(presets))
    known = {field.name for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    if unknown := [option for option in changes if option not in known]:
        raise VesaliusError(
            given=f"preset {name!r} with {', '.join(unknown)}",
            expected=f"options of {kind.__name__}: {', '.join(sorted(known))}",
            fix=f"look them up with help({kind.__name__})",
        )
    return kind(**{**presets[name], **changes})


def words_of(kind: Any) -> tuple[str, ...]:
    """Give the words of a Literal, or of a union of Literals, in their order.

    >>> from typing import Literal
    >>> words_of(Literal["a", "b"] | Literal["c"])
    ('a', 'b', 'c')
    """
    nested = [words_of(part) if get_args(part) else (str(part),) for part in get_args(kind)]
    return tuple(word for words in nested for word in words)


def check_word(name: str, value: object, known: tuple[str, ...]) -> None:
    """Insist that an option is one of the known words.

    Raises:
        VesaliusError: it is another one.
    """
    if value not in known:
        raise VesaliusError(
            given=f"{name}={value!r}", expected=f"one of {', '.join(known)}", fix=f"use {known[0]}"
        )


def check_count(name: str, value: object, *, lowest: int, usual: int) -> None:
    """Insist that an option is a whole number from ``lowest``.

    Raises:
        VesaliusError: it is none.
    """
    if not isinstance(value, Integral) or value < lowest:
        raise VesaliusError(
            given=f"{name}={value!r}",
            expected=f"a whole number from {lowest}",
            fix=f"use {name}={usual}",
        )


def check_tolerance(value: object) -> None:
    """Insist that a tolerance is a share of F(1) - F(0).

    Raises:
        VesaliusError: it is no finite number from 0.
    """
    if not (isinstance(value, Real) and 0 <= float(value) < math.inf):
        raise VesaliusError(
            given=f"tolerance={value!r}",
            expected="a finite number from 0, a share of F(1) - F(0)",
            fix="leave it at 1e-3",
        )


def check_share(name: str, value: object, *, usual: float, zero: bool = False) -> None:
    """Insist that an option is a share in (0, 1], or in [0, 1] where ``zero`` makes sense.

    Raises:
        VesaliusError: it is none.
    """
    number = float(value) if isinstance(value, Real) else math.nan
    if not (number > 0 or (zero and number == 0)) or number > 1:
        raise VesaliusError(
            given=f"{name}={value!r}",
            expected=f"a share {'from' if zero else 'above'} 0, at most 1",
            fix=f"use {name}={usual:g}",
        )
