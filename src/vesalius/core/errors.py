"""The one exception that a user's mistake raises."""


class VesaliusError(Exception):
    """A mistake the user can mend: what was given, what was expected, what to do.

    Args:
        given: what the caller passed, quoted back to them.
        expected: what would have been accepted.
        fix: the next thing to type or to call.

    >>> raise VesaliusError(given="steps=0", expected="steps >= 1", fix="start with steps=20")
    Traceback (most recent call last):
        ...
    vesalius.core.errors.VesaliusError: given: steps=0
    expected: steps >= 1
    fix: start with steps=20

    Source: the design of this project, docs/decisions.md.
    """

    def __init__(self, *, given: str, expected: str, fix: str) -> None:
        self.given = given
        self.expected = expected
        self.fix = fix
        super().__init__(f"given: {given}\nexpected: {expected}\nfix: {fix}")

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the three parts when the error crosses a process border."""
        return _rebuild, (self.given, self.expected, self.fix)


def _rebuild(given: str, expected: str, fix: str) -> VesaliusError:
    return VesaliusError(given=given, expected=expected, fix=fix)
