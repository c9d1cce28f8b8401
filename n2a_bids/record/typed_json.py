"""Turns record dataclasses into JSON and back, and refuses unknown fields.

Standard library only: the record of a denoising passes from process to process without torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import TypeVar, Union, get_args, get_origin, get_type_hints

from n2a_bids.errors import BIDSDataError

T = TypeVar("T")

JsonObject = dict[str, object]
"""A JSON object whose keys are not ours to list: metadata of BIDS, options of other programs, tables that
only a person reads. Values are of the types of JSON. What n2a records and reads again has dataclasses."""

NULL = {"null": True}
"""Metadata of a field that is written as ``null`` where it is None; others are left out."""


def to_json(record: object) -> JsonObject:
    """JSON object with the names of a dataclass's fields.

    Parameters
    ----------
    record : dataclass
        Fields are text, truth values, numbers, tuples and mappings of these, and dataclasses.

    Returns
    -------
    content : dict
        Values of many types, as JSON has them. What is None, or a number that is not finite, is left out, or
        null where the field says so.
    """
    content: JsonObject = {}
    for field in fields(record):
        value = _plain(getattr(record, field.name))
        if value is not None or "null" in field.metadata:
            content[field.name] = value
    return content


def _plain(value: object) -> object:
    if is_dataclass(value):
        return to_json(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_json(kind: type[T], content: object, source: object) -> T:
    """Dataclass from a JSON object.

    Parameters
    ----------
    kind : type
        The dataclass.
    content : object
        What json has read.
    source : object
        File, for messages.

    Raises
    ------
    BIDSDataError
        With file and place, if a field is unknown, missing, or of another type than declared; NaN and
        infinity are no numbers, and None where a field may be that.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Noise:
    ...     sd: float
    >>> from_json(Noise, {"sd": 2}, "noise.json")
    Noise(sd=2.0)
    >>> from_json(Noise, {"sd": 2, "mean": 1}, "noise.json")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    n2a_bids.errors.BIDSDataError: noise.json: expected the fields of a record of n2a, found 'mean', which ...
    """
    return _object(kind, content, "", source)


def _object(kind: type[T], content: object, key_path: str, source: object) -> T:
    if not isinstance(content, Mapping):
        raise _wrong(source, key_path, "an object with fields", content)
    hints, own = _hints(kind), {field.name: field for field in fields(kind)}
    for name in content:
        if name not in own:
            raise BIDSDataError(
                f"{source}: expected the fields of a record of n2a, found {f'{key_path}{name}'!r}, which "
                "this version does not know; denoise again, or use the version that wrote it"
            )
    for name, field in own.items():
        if name not in content and field.default is MISSING and field.default_factory is MISSING:
            raise _wrong(source, f"{key_path}{name}", "a value", None)
    values = {name: _value(hints[name], item, f"{key_path}{name}", source) for name, item in content.items()}
    return kind(**values)


@cache
def _hints(kind: type) -> Mapping[str, object]:
    return get_type_hints(kind)


def _value(hint: object, value: object, key_path: str, source: object) -> object:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (inner,) = (part for part in parts if part is not NoneType)
        # Other writers have NaN for what was not measured.
        unknown = value is None or (inner is float and isinstance(value, float) and not math.isfinite(value))
        return None if unknown else _value(inner, value, key_path, source)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(parts[0], item, f"{key_path}[{n}]", source) for n, item in enumerate(value))
    if origin is Mapping and isinstance(value, Mapping):
        return {key: _value(parts[1], item, f"{key_path}.{key}", source) for key, item in value.items()}
    if is_dataclass(hint):
        return _object(hint, value, f"{key_path}.", source)
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if type(value) is hint and hint is not float:
        return value
    raise _wrong(source, key_path, _WORDS.get(origin or hint, "another value"), value)


_WORDS = {
    tuple: "a list",
    Mapping: "an object with fields",
    float: "a finite number",
    int: "a whole number",
    str: "a text",
    bool: "true or false",
}


def _wrong(source: object, key_path: str, expected: str, found: object) -> BIDSDataError:
    where = f" at {key_path.rstrip('.')}" if key_path else ""
    return BIDSDataError(
        f"{source}: expected {expected}{where}, found {found!r:.60}; denoise again, or "
        "put the file back as it was written"
    )
