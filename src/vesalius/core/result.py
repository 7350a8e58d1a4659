"""The base of every result: a frozen dataclass that saves itself to a folder and comes back.

A folder holds ``result.json`` (kind, schema version, card, scalars), ``arrays.safetensors`` and
one ``<field>.parquet`` per table. There is no pickle: opening a stranger's result runs no code.

Source: the design of this project, docs/decisions.md.
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar, cast
from urllib.parse import quote, unquote

import numpy as np

from vesalius.core.card import RunCard
from vesalius.core.codec import Attachments, decode, encode, plain
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import new_folder

MARKER: Final = "result.json"
ARRAYS: Final = "arrays.safetensors"
ResultT = TypeVar("ResultT", bound="AbstractResult")  # typing.Self, which beartype cannot check
_REGISTRY: Final[dict[str, type["AbstractResult"]]] = {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractResult:
    """What a method returns: numbers, and the card that says where they come from.

    A subclass is final, is decorated with ``@register_result`` above
    ``@dataclass(frozen=True, kw_only=True, eq=False)`` (equality of arrays is no single truth
    value), and names its ``kind`` as ``"<method>.<verb>"``. ``schema_version`` grows whenever a
    field changes; ``migrate`` then brings older folders up to date.
    """

    kind: ClassVar[str]
    schema_version: ClassVar[int]
    citations: ClassVar[tuple[str, ...]] = ()  # keys of core/citations.bib: what was really used

    card: RunCard

    def __init_subclass__(cls) -> None:
        """Keep the rule that a class is abstract, by its name, or final."""
        for base in cls.__bases__:
            if not base.__name__.startswith("Abstract"):
                raise TypeError(f"{base.__name__} is final: wrap it instead of inheriting from it")

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON would say it: arrays as lists, tables as lists of rows."""
        return {"kind": self.kind, "schema_version": self.schema_version, **plain(self)}

    def save(self, folder: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write the result to a new folder, completely or not at all, and return its path.

        Raises:
            VesaliusError: the folder exists and ``force`` is not given, the disk is full, or a
                field holds what no result may hold.
        """
        fields, attachments = encode(self)
        head = {"kind": self.kind, "schema_version": self.schema_version, "fields": fields}
        text = json.dumps(head, ensure_ascii=False, indent=1, allow_nan=False)
        with new_folder(folder, force=force, marker=MARKER) as partial:
            (partial / MARKER).write_text(text + "\n", encoding="utf-8")
            _write_attachments(attachments, partial)
        return Path(folder)

    @classmethod
    def load(cls: type[ResultT], folder: str | os.PathLike[str]) -> ResultT:
        """Read a folder that ``save`` wrote.

        Raises:
            VesaliusError: no result is there, it is of another kind or of a newer schema, or a
                part of it is missing or damaged.
        """
        head = _read_head(Path(folder))
        if head["kind"] != cls.kind:
            raise VesaliusError(
                given=f"a result of kind {head['kind']!r} in {str(folder)!r}",
                expected=f"kind {cls.kind!r}",
                fix="open it with vesalius.core.result.load_result, which finds its class",
            )
        version, fields = head["schema_version"], head["fields"]
        if version > cls.schema_version:
            raise VesaliusError(
                given=f"schema version {version} of {cls.kind!r} in {str(folder)!r}",
                expected=f"at most {cls.schema_version}, the newest that this release knows",
                fix="upgrade vesalius",
            )
        if version < cls.schema_version:
            fields = cls.migrate(fields, version=version)
        attachments = _read_attachments(Path(folder))
        return cast("ResultT", decode(fields, cls, attachments))

    @classmethod
    def migrate(cls, fields: dict[str, Any], *, version: int) -> dict[str, Any]:
        """Bring the stored fields of an older schema version up to date (none exists yet).

        Raises:
            VesaliusError: this class cannot read that version.
        """
        raise VesaliusError(
            given=f"schema version {version} of {cls.kind!r}",
            expected=f"version {cls.schema_version}",
            fix="read it with the vesalius version named in its card",
        )


def register_result(cls: type[ResultT]) -> type[ResultT]:
    """Enter a result class under its kind, so that ``load_result`` finds it.

    Raises:
        TypeError: the class names no kind or version, is no frozen dataclass, or its kind is taken.
    """
    for name in ("kind", "schema_version"):
        if not hasattr(cls, name):
            raise TypeError(f"{cls.__name__} sets no {name}")
    parameters: Any = cls.__dict__.get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        raise TypeError(f"{cls.__name__} must be a dataclass(frozen=True, kw_only=True)")
    known = _REGISTRY.setdefault(cls.kind, cls)
    if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise TypeError(f"kind {cls.kind!r} belongs to {known.__qualname__} already")
    _REGISTRY[cls.kind] = cls  # the same class once more: a module that was reloaded
    return cls


def load_result(folder: str | os.PathLike[str]) -> AbstractResult:
    """Read a result of any registered kind; a kind is known once its method is imported.

    Raises:
        VesaliusError: the kind is unknown, or ``load`` of its class refuses the folder.
    """
    kind = _read_head(Path(folder))["kind"]
    if kind not in _REGISTRY:
        raise VesaliusError(
            given=f"a result of kind {kind!r}",
            expected=f"one of {', '.join(sorted(_REGISTRY)) or '(none is registered yet)'}",
            fix=f"import the method first: vesalius.methods.{kind.partition('.')[0]}",
        )
    return _REGISTRY[kind].load(folder)


def _write_attachments(attachments: Attachments, folder: Path) -> None:
    """Write through Python's own files: the libraries' writers hide the reason of an OSError."""
    if attachments.arrays:
        from safetensors.numpy import save

        arrays = {name: _storable(array) for name, array in attachments.arrays.items()}
        (folder / ARRAYS).write_bytes(save(arrays))
    for name, table in attachments.tables.items():
        from pyarrow import parquet

        # a dictionary key may hold any text, also one that leaves the folder
        with (folder / f"{quote(name, safe='')}.parquet").open("wb") as file:
            parquet.write_table(table, file)


def _storable(array: np.ndarray) -> np.ndarray:
    """Lay an array out as safetensors assumes it: C order, little endian."""
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _read_attachments(folder: Path) -> Attachments:
    attachments = Attachments()
    try:
        if (folder / ARRAYS).is_file():
            from safetensors.numpy import load

            attachments.arrays.update(load((folder / ARRAYS).read_bytes()))
        for path in sorted(folder.glob("*.parquet")):
            from pyarrow import parquet

            with path.open("rb") as file:
                attachments.tables[unquote(path.stem)] = parquet.read_table(file)
    except Exception as error:  # each format has its own family of errors for a damaged file
        raise VesaliusError(
            given=f"arrays or tables of {str(folder)!r}: {error}",
            expected="the complete files that save() wrote",
            fix="copy the whole folder again",
        ) from error
    return attachments


def _read_head(folder: Path) -> dict[str, Any]:
    try:
        head = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VesaliusError(
            given=f"{str(folder)!r}: {error}",
            expected=f"a result folder with a readable {MARKER}",
            fix="give the folder that save() returned",
        ) from error
    expected = {"kind": str, "schema_version": int, "fields": dict}
    if not isinstance(head, dict) or any(
        not isinstance(cast("dict[str, Any]", head).get(name), kind)
        for name, kind in expected.items()
    ):
        raise VesaliusError(
            given=f"{MARKER} of {str(folder)!r} without {', '.join(expected)}",
            expected="the file that save() wrote",
            fix="copy the whole folder again",
        )
    return cast("dict[str, Any]", head)
