"""Every test runs offline, on one thread, with the shapes in all signatures checked."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else Ray writes a token into the home folder
# what the zoo writes out goes where it is not kept, the same place for all workers of a run
if "VESALIUS_CACHE" not in os.environ:
    os.environ["VESALIUS_CACHE"] = tempfile.mkdtemp(prefix="vesalius-tests-")
    atexit.register(shutil.rmtree, os.environ["VESALIUS_CACHE"], ignore_errors=True)

from collections.abc import Iterator

import jaxtyping

# Before anything imports vesalius: the hook rewrites modules while they are imported.
_HOOK = jaxtyping.install_import_hook("vesalius", "typechecking.checked")

import pytest
import torch
from hypothesis import settings

# the same examples on every machine; no deadline, for a shared core may be slow
settings.register_profile("vesalius", derandomize=True, deadline=None)
settings.load_profile("vesalius")

torch.set_num_threads(1)  # workers of pytest-xdist share the cores


@pytest.fixture
def as_users_call_it() -> Iterator[None]:
    """Switch the checking of shapes off, so that a wrong argument meets our own message."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
