"""A bar on stderr for what takes over two seconds, and nothing for what does not.

Source: the design of this project, docs/decisions.md.
"""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Event, Thread

PATIENCE_SECONDS = 2.0
_ON_A_TERMINAL_SECONDS = 0.5  # between two drawings of the bar
_IN_A_LOG_SECONDS = 10.0


@contextmanager
def working(label: str, *, total: int | None = None) -> Generator[Callable[[], None], None, None]:
    """Show that work is going on; yields what to call when one of ``total`` parts is done.

    The clock of the bar runs on while a part is in work, so that a long one is seen to live.
    """
    from tqdm import tqdm

    shape = None if total and total > 1 else "{desc} ({elapsed})"
    bar = tqdm(
        total=total,
        desc=label,
        delay=PATIENCE_SECONDS,
        miniters=0,
        leave=False,
        bar_format=shape,
    )
    ended = Event()
    redraw_seconds = _ON_A_TERMINAL_SECONDS if sys.stderr.isatty() else _IN_A_LOG_SECONDS

    def tick() -> None:
        wait = PATIENCE_SECONDS
        while not ended.wait(wait):
            bar.update(0)
            wait = redraw_seconds

    def step() -> None:
        bar.update(1)

    ticker = Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield step
    finally:
        ended.set()
        ticker.join()
        bar.close()


def counting(step: Callable[[], None]) -> Callable[[int, int], None]:
    """Turn the step of a bar into what is called with the parts done so far, and all of them."""
    seen = 0

    def progress(done: int, _total: int) -> None:
        nonlocal seen
        for _ in range(done - seen):
            step()
        seen = done

    return progress
