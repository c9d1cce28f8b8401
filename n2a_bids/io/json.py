"""Reads and writes JSON files: sidecars, records; the path of an image's sidecar."""

from __future__ import annotations

import json
import math
import os
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import write_whole
from n2a_bids.record.typed_json import JsonObject, from_json, to_json

T = TypeVar("T")

_LARGEST_BYTES = 100_000_000
"""No sidecar comes near: a larger file is something else, and would fill the memory."""
_MOST_DIGITS, _DIGITS_OF_A_FLOAT = 4300, 308
"""No number of a scanner comes near the former, which is Python's own limit."""
_MOST_LEVELS = 100
_LONGEST_REASON = 200
_KINDS = {list: "a list", str: "a text", type(None): "null", bool: "a truth value"}


def read_json_object(path: Path, *, expected: str, remedy: str) -> JsonObject:
    """Read a file that holds one JSON object.

    Parameters
    ----------
    path : Path
        UTF-8, with or without a byte order mark.
    expected : str
        What the file is to the user, with its article: ``a readable JSON sidecar``.
    remedy : str
        What to do about a file that is none.

    Returns
    -------
    content : dict
        Values as they stand there: NaN and infinity too, which JSON does not have but Python writes.

    Raises
    ------
    BIDSDataError
        With file, expectation, finding and remedy, if the file is missing, no regular file, too large, not
        UTF-8, not JSON, nested too deep, holds numbers with thousands of digits, or is no object.
    """
    try:
        content = json.loads(_text(path), parse_int=_whole_number)
        _refuse_deep(content)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        found = _finding(error)
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            found, remedy = "a link to nothing", f"fetch it ('datalad get {path}'), or restore what it means"
        raise BIDSDataError(f"{path}: expected {expected}, found {found}; {remedy}") from error
    if not isinstance(content, dict):
        raise BIDSDataError(
            f"{path}: expected a JSON object with fields, found {_KINDS.get(type(content), 'a number')}; "
            f"{remedy}"
        )
    return content


def read_json(path: Path) -> JsonObject:
    """Read a JSON object that n2a wrote; fails as `read_json_object`."""
    return read_json_object(path, expected="a JSON file written by n2a", remedy="run the participant again")


def read_typed(kind: type[T], path: Path) -> T:
    """Read a record that n2a wrote, such as a `DenoisingRecord`.

    Parameters
    ----------
    kind : type
        Dataclass of the record.

    Raises
    ------
    BIDSDataError
        If the file is not readable, or holds anything else; with file and place.
    """
    return from_json(kind, read_json(path), path)


def record_text(record: object) -> str:
    """Text of the JSON file of a record, such as a `DenoisingRecord`; `read_typed` reads it."""
    return json_text(to_json(record))


def write_record(record: object, path: Path) -> str:
    """Write the JSON file of a record, whole or not at all; returns its path as text, as nipype wants it."""
    return os.fspath(write_whole(path, record_text(record) + "\n"))


def json_text(content: object, *, indent: int | None = 2, ensure_ascii: bool = True) -> str:
    """Text of a JSON file, without a newline at its end.

    Parameters
    ----------
    content : object
        Mappings, sequences, numbers of Python or numpy, text, truth values, None.
    indent : int or None
        Spaces for each level; None writes one line.
    ensure_ascii : bool
        Write other letters as escapes.

    Returns
    -------
    text : str
        NaN and infinity, which JSON does not have and strict readers refuse, are ``null``.

    Examples
    --------
    >>> json_text({"gain": float("nan"), "SNR": [1.5, float("inf")]}, indent=None)
    '{"gain": null, "SNR": [1.5, null]}'
    """
    return json.dumps(_finite(content), indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)


def sidecar_text(fields: Mapping[str, object]) -> str:
    """Text of a sidecar: fields that are NaN or infinite are left out, for ``null`` is no value of BIDS.

    Examples
    --------
    >>> print(sidecar_text({"EchoTime": 0.003, "RepetitionTime": float("inf")}))
    {
      "EchoTime": 0.003
    }
    """
    return json_text({key: value for key, value in fields.items() if not _is_odd(value)})


def sidecar_path(image: Path) -> Path:
    """The ``.json`` beside an image, without the endings of formats.

    Examples
    --------
    >>> sidecar_path(Path("a.ome.tif")).name, sidecar_path(Path("a.nii.gz")).name
    ('a.json', 'a.json')
    """
    return image.with_name(f"{image.stem.removesuffix('.ome').removesuffix('.nii')}.json")


def listed(value: object) -> list[object]:
    """One value of a field, or several, as a list; none where the field is absent.

    Examples
    --------
    >>> listed("a"), listed(["a", "b"]), listed(None)
    (['a'], ['a', 'b'], [])
    """
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _finite(value: object) -> object:
    """Copy with null for what JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "tolist"):
        # Arrays and numbers of numpy.
        return _finite(value.tolist())
    return None if _is_odd(value) else value


def _is_odd(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _whole_number(text: str) -> int | float:
    """An integer; one that no processor holds is infinite, as ``1e400`` is."""
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number with {len(text)} digits")
    return int(text) if len(text) < _DIGITS_OF_A_FLOAT else float(text)


def _refuse_deep(content: object) -> None:
    """What is nested as deep as Python allows can be read, but not be walked through or written."""
    level = [content]
    for _ in range(_MOST_LEVELS):
        level = [
            value
            for item in level
            if isinstance(item, dict | list)
            for value in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise RecursionError


def _text(path: Path) -> str:
    # A pipe would be waited for, and a device has no end.
    if path.exists() and not path.is_file():
        raise ValueError(f"a {'folder' if path.is_dir() else 'pipe or device'}")
    with path.open("rb") as stream:
        content = stream.read(_LARGEST_BYTES + 1)
    if len(content) > _LARGEST_BYTES:
        raise ValueError(f"more than {_LARGEST_BYTES // 1_000_000} MB")
    return content.decode("utf-8-sig")


def _finding(error: Exception) -> str:
    """What is wrong with a file, in one line."""
    if isinstance(error, RecursionError):
        return "values nested too deep to be read"
    if isinstance(error, MemoryError):
        return "more than the memory holds"
    if isinstance(error, UnicodeDecodeError):
        # What converters and editors write besides: a mark at the start tells UTF-16.
        encoding = "UTF-16" if error.object[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "WINDOWS-1252"
        return (
            f"text that is not UTF-8 (byte {error.start + 1}: {error.reason}), but perhaps {encoding}, which "
            f"'iconv -f {encoding} -t UTF-8' turns into it"
        )
    is_plain = isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError)
    words = str(error) if is_plain else f"{type(error).__name__}: {error}"
    return " ".join(words.split())[:_LONGEST_REASON]
