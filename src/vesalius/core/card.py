"""The run card: what produced a result, so that another person can produce it again.

No host name, user name or machine path enters a card; results are meant to be published.

Source: the design of this project, docs/decisions.md.
"""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, final

from vesalius.core.codec import plain

_PACKAGES = ("vesalius", "torch", "transformers", "numpy")


@final
@dataclass(frozen=True, kw_only=True)
class RunCard:
    """Everything that a result needs to be reproduced, and the trouble met on the way."""

    method: str  # the words of the command line, such as "neurons locate"
    model: str  # a hub name or the last part of a local path; "" when no model was used
    model_fingerprint: str
    config: dict[str, Any]
    seed: int | None
    versions: dict[str, str]
    platform: str
    started_at: str  # ISO 8601, UTC, to the second
    wall_seconds: float
    peak_memory_bytes: int | None
    warnings: tuple[str, ...]


@final
@dataclass(frozen=True)
class Stopwatch:
    """The start of a run, by the calendar and by a clock that never jumps."""

    started_at: str
    started_seconds: float

    @classmethod
    def start(cls) -> "Stopwatch":
        """Start now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(started_at=now, started_seconds=time.perf_counter())

    @property
    def wall_seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started_seconds


def make_card(
    method: str,
    *,
    stopwatch: Stopwatch,
    config: object,
    model: str = "",
    model_fingerprint: str = "",
    seed: int | None = None,
    peak_memory_bytes: int | None = None,
    warnings: Sequence[str] = (),
) -> RunCard:
    """Fill in a card at the end of a run; ``config`` is a mapping or a frozen dataclass.

    Versions are read from the installed packages' metadata, without importing them.
    A model given as an absolute or existing local path enters with its last part only.

    Raises:
        VesaliusError: ``config`` holds something that JSON cannot say.
    """
    if not isinstance(config, Mapping) and not hasattr(config, "__dataclass_fields__"):
        raise TypeError(f"config must be a mapping or a dataclass, not {type(config).__name__}")
    return RunCard(
        method=method,
        model=_public_name(model),
        model_fingerprint=model_fingerprint,
        config=plain(config),
        seed=seed,
        versions=installed_versions(),
        platform=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        started_at=stopwatch.started_at,
        wall_seconds=stopwatch.wall_seconds,
        peak_memory_bytes=peak_memory_bytes,
        warnings=tuple(warnings),
    )


def installed_versions() -> dict[str, str]:
    """Read the versions of Python and of the packages that decide a number."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


@cache  # a millisecond each, and no package changes while it is in use
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _public_name(model: str) -> str:
    is_path = Path(model).is_absolute() or model.startswith(("~", ".")) or Path(model).exists()
    return Path(model).name if model and is_path else model
