"""Output folders that appear whole or not at all.

A folder is written under a temporary name beside its destination, flushed to the disk, then
renamed. A killed process leaves at most ``.<name>.<random>.partial`` beside it and, when it was
killed in the middle of replacing an older folder, that one as ``.<name>.<random>.old``.

Source: the design of this project, docs/decisions.md.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from vesalius.core.errors import VesaliusError


def check_new_output(
    path: str | os.PathLike[str], *, force: bool = False, marker: str = "result.json"
) -> Path:
    """Refuse an output path that exists; with ``force``, only one that is not ours to replace.

    ``force`` replaces a file, an empty folder, or a folder that holds the file ``marker``, by
    which we know our own: ``force`` on a home directory must not empty it.

    Raises:
        VesaliusError: the path exists and may not be replaced, or its parent is no folder.
    """
    path = Path(path)
    ancestor = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not ancestor.is_dir():
        raise VesaliusError(
            given=f"output path {str(path)!r}",
            expected=f"a path inside a folder, but {ancestor.name!r} is a file",
            fix="choose another output path",
        )
    if not os.path.lexists(path):
        return path
    if not force:
        raise VesaliusError(
            given=f"output path {str(path)!r}, which exists",
            expected="a path that does not exist yet",
            fix="choose another one, or pass force=True (--force) to replace it",
        )
    ours = not path.is_symlink() and (
        path.is_file() or (path / marker).is_file() or not any(path.iterdir())
    )
    if not ours:
        raise VesaliusError(
            given=f"force with output path {str(path)!r}, a link or a folder without {marker!r}",
            expected="a folder that vesalius wrote, an empty folder or a file",
            fix="choose another output path; this one is not replaced even with force",
        )
    return path


@contextmanager
def new_folder(
    path: str | os.PathLike[str], *, force: bool = False, marker: str = "result.json"
) -> Generator[Path, None, None]:
    """Hand out a temporary folder that becomes ``path`` when the body ends without an error.

    Raises:
        VesaliusError: the path may not be written (see :func:`check_new_output`), or the
            operating system refused: disk full, no permission. Nothing is left behind.
    """
    path = check_new_output(path, force=force, marker=marker)
    partial: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _folder_beside(path, suffix="partial")
        yield partial
        _sync_tree(partial)
        _swap_in(partial, path)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _folder_beside(path: Path, *, suffix: str) -> Path:
    """Make a hidden folder on the same disk (tempfile would make one that only we may read)."""
    folder = path.parent / f".{path.name}.{secrets.token_hex(4)}.{suffix}"
    folder.mkdir()
    return folder


def _swap_in(partial: Path, path: Path) -> None:
    """Rename into place; what stood there is deleted only when the new folder stands."""
    if not os.path.lexists(path):
        os.rename(partial, path)
    else:
        attic = _folder_beside(path, suffix="old")
        os.rename(path, attic / path.name)
        try:
            os.rename(partial, path)
        except BaseException:
            os.rename(attic / path.name, path)
            attic.rmdir()
            raise
        shutil.rmtree(attic, ignore_errors=True)
    _sync(path.parent)


def _sync_tree(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            _sync(Path(place, name))
        _sync(Path(place))


def _sync(path: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there, and a rename is journaled
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refusal(path: Path, error: OSError) -> VesaliusError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return VesaliusError(
        given=f"output path {str(path)!r}: {error.strerror or error}",
        expected="enough free space" if full else "a place that can be written",
        fix="free some space or choose another disk" if full else "choose another output path",
    )


def write_file(path: str | os.PathLike[str], content: bytes, *, force: bool = False) -> Path:
    """Write a file completely or not at all, and return its path.

    Raises:
        VesaliusError: the path exists and ``force`` is not given, or the operating system
            refused: disk full, no permission. Nothing is left behind.
    """
    path = check_new_output(path, force=force)
    partial = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        _sync(partial)
        os.replace(partial, path)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        partial.unlink(missing_ok=True)
    return path
