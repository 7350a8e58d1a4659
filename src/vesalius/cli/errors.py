"""What the command line does with trouble: exit codes, one clear message, no traceback.

Source: the exit codes of docs/architecture.md.
"""

import sys
from typing import Final, NoReturn, final

from vesalius.core.errors import VesaliusError

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
PARTLY_DONE: Final = 4  # the same command goes on where it stopped
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count


@final
class WrongUsage(Exception):
    """Flags that do not go together: found before any work, and not by typer."""

    def __init__(self, error: VesaliusError) -> None:
        self.error = error
        super().__init__(str(error))


def wrong_usage(*, given: str, expected: str, fix: str) -> NoReturn:
    """Refuse a combination of flags.

    Raises:
        WrongUsage: always.
    """
    raise WrongUsage(VesaliusError(given=given, expected=expected, fix=fix))


def say(text: str) -> None:
    """Print a line for people, on stderr: stdout is for data."""
    print(text, file=sys.stderr)


def say_error(error: VesaliusError, *, about: str = "") -> None:
    """Print the three parts of an error on stderr, one line each."""
    say(f"vesalius: {about or 'error'}")
    for name in ("given", "expected", "fix"):
        say(f"  {name + ':':<10}{getattr(error, name)}")
