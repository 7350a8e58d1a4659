"""Frozen dataclasses to JSON and back, guided by their type annotations alone.

Arrays and tables are carried beside the JSON: in it stands ``{"$array": name}`` or
``{"$table": name}``. JSON has no NaN, so a number that is not finite is written as the text
``"nan"``, ``"inf"`` or ``"-inf"``, which a field annotated ``float`` reads back as a number.

Source: the design of this project, docs/decisions.md.
"""

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from vesalius.core.errors import VesaliusError

ARRAY, TABLE = "$array", "$table"


@dataclasses.dataclass(frozen=True)
class Attachments:
    """The arrays and Arrow tables met while encoding, by their dotted place in the result."""

    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict[str, np.ndarray])
    tables: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])


def plain(value: object) -> Any:
    """Turn a value into what JSON can say; arrays become lists, tables lists of rows.

    Raises:
        VesaliusError: a value of a type that a result may not hold.
    """
    return _encode(value, "", None)


def encode(value: object) -> tuple[Any, Attachments]:
    """Turn a value into JSON and the arrays and tables that go beside it.

    Raises:
        VesaliusError: a value of a type that a result may not hold.
    """
    attachments = Attachments()
    return _encode(value, "", attachments), attachments


def _encode(value: object, place: str, attachments: Attachments | None) -> Any:
    """Encode one value; without ``attachments``, arrays and tables are written out in full."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, np.ndarray):
        return _encode_array(value, place, attachments)
    if hasattr(value, "to_pylist") and hasattr(value, "schema"):  # a pyarrow Table, not imported
        if attachments is None:
            return _encode(cast("Any", value).to_pylist(), place, None)
        return {TABLE: _attach(attachments.tables, place, value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {
            _key(key, place): _encode(item, _join(place, key), attachments) for key, item in items
        }
    if isinstance(value, tuple | list):
        entries = enumerate(cast("list[object]", value))
        return [_encode(item, _join(place, index), attachments) for index, item in entries]
    raise VesaliusError(
        given=f"{type(value).__name__} in {place or 'a result'}",
        expected="text, numbers, None, tuples, dicts, arrays, Arrow tables or dataclasses of them",
        fix="convert it first, for instance a tensor with tensor.numpy(force=True)",
    )


def _encode_array(array: np.ndarray, place: str, attachments: Attachments | None) -> Any:
    if array.dtype.kind not in "biuf":
        raise VesaliusError(
            given=f"array of {array.dtype} in {place or 'a result'}",
            expected="an array of booleans, integers or real numbers",
            fix="store text in a tuple or a table, and real and imaginary parts apart",
        )
    if attachments is None:
        return _encode(array.tolist(), place, None)
    return {ARRAY: _attach(attachments.arrays, place, array)}


def _attach(parts: dict[str, Any], place: str, part: object) -> str:
    if place in parts:
        raise VesaliusError(
            given=f"two parts of a result at {place!r}",
            expected="keys that stay apart when they are joined with dots",
            fix="rename a key that holds a dot",
        )
    parts[place] = part
    return place


def _key(key: object, place: str) -> str:
    if isinstance(key, str | int) and not isinstance(key, bool) and not str(key).startswith("$"):
        return str(key)
    raise VesaliusError(
        given=f"key {key!r} in {place or 'a result'}",
        expected="text that does not start with '$', or an integer",
        fix="rename the key",
    )


def _join(place: str, part: object) -> str:
    return f"{place}.{part}" if place else str(part)


def decode(value: Any, annotation: Any, attachments: Attachments, *, place: str = "") -> Any:
    """Rebuild a value of the annotated type from JSON and what was stored beside it.

    Raises:
        VesaliusError: the stored value does not fit the annotation.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(value, dict) and ARRAY in value:
        return _attached(str(cast("dict[str, Any]", value)[ARRAY]), attachments.arrays)
    if isinstance(value, dict) and TABLE in value:
        return _attached(str(cast("dict[str, Any]", value)[TABLE]), attachments.tables)
    if origin in (Union, types.UnionType):
        return decode(value, _arm(value, arguments, place), attachments, place=place)
    if origin is tuple and isinstance(value, list):
        items = cast("list[Any]", value)
        kinds = (arguments[0],) * len(items) if arguments[1:] == (...,) else arguments
        if len(kinds) == len(items):
            pairs = enumerate(zip(items, kinds, strict=True))
            return tuple(decode(v, k, attachments, place=_join(place, i)) for i, (v, k) in pairs)
    elif _is_mapping(annotation) and isinstance(value, dict):
        key_kind, kind = arguments or (str, Any)
        stored = cast("dict[str, Any]", value)
        decoded = {
            k: decode(v, kind, attachments, place=_join(place, k)) for k, v in stored.items()
        }
        return {int(key): item for key, item in decoded.items()} if key_kind is int else decoded
    elif dataclasses.is_dataclass(annotation) and isinstance(value, dict):
        return _decode_dataclass(cast("dict[str, Any]", value), annotation, attachments, place)
    elif _fits(value, annotation):
        return float(cast("float | str", value)) if annotation is float else value
    raise _mismatch(place, value, annotation)


def _decode_dataclass(
    stored: dict[str, Any], cls: Any, attachments: Attachments, place: str
) -> Any:
    hints = get_type_hints(cls)
    fields = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(stored.keys() - fields):
        raise VesaliusError(
            given=f"field {unknown[0]!r} in {place or cls.__name__}",
            expected=f"only {', '.join(sorted(fields))}",
            fix="read it with the vesalius version named in its card",
        )
    values = {
        name: decode(item, hints[name], attachments, place=_join(place, name))
        for name, item in stored.items()
    }
    try:
        return cls(**values)
    except TypeError as error:
        raise _mismatch(place or cls.__name__, sorted(stored), cls) from error


def _attached(name: str, parts: Mapping[str, Any]) -> Any:
    if name in parts:
        return parts[name]
    raise VesaliusError(
        given=f"{name!r} named in result.json but stored nowhere",
        expected="the complete folder that save() wrote",
        fix="copy the whole folder again",
    )


def _arm(value: Any, arms: tuple[Any, ...], place: str) -> Any:
    """Choose the member of a union that fits what is stored, the exact type first."""
    exact = [arm for arm in arms if arm is type(value) or (arm is type(None) and value is None)]
    for arm in exact + [arm for arm in arms if _fits(value, arm)]:
        return arm
    raise _mismatch(place, value, arms)


def _fits(value: Any, annotation: Any) -> bool:
    """Tell whether stored JSON can be of this type, judged by its outermost layer."""
    if annotation in (Any, object):
        return True
    if annotation in (None, type(None)):
        return value is None
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    if annotation is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number or (isinstance(value, str) and value in ("nan", "inf", "-inf"))
    if annotation in (bool, int, str):
        return type(value) is annotation
    if get_origin(annotation) is tuple:
        return isinstance(value, list)
    if _is_mapping(annotation) or dataclasses.is_dataclass(annotation):
        return isinstance(value, dict)
    return False


def _is_mapping(annotation: Any) -> bool:
    kind = get_origin(annotation) or annotation
    return isinstance(kind, type) and issubclass(kind, Mapping)


def _mismatch(place: str, value: Any, annotation: Any) -> VesaliusError:
    text = repr(value)
    return VesaliusError(
        given=f"{place or 'value'} = {text if len(text) <= 80 else text[:77] + '...'}",
        expected=getattr(annotation, "__name__", str(annotation)),
        fix="the file was changed or damaged: save the result again",
    )
