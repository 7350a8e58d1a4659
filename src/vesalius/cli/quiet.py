"""Hold back the chatter of other libraries, and nothing of our own.

Source: the design of this project, docs/decisions.md.
"""

import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager

_SETTINGS = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",  # else it tells of every retry when there is no network
}


@contextmanager
def quiet(*, debug: bool) -> Generator[None, None, None]:
    """Silence logs, bars and warnings of other packages while the context is open.

    Warnings that our own modules raise still show. ``debug`` leaves everything as it is.
    """
    if debug:
        yield
        return
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update(_SETTINGS)  # read by transformers when it is first imported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", module=r"vesalius\b")
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


@contextmanager
def quiet_loading() -> Generator[None, None, None]:
    """Hold back what transformers prints while it loads a model, if the chatter is held back."""
    if os.environ.get("TRANSFORMERS_VERBOSITY") != "error":
        yield
        return
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
