"""Argument types of both commands: path, participant label, filter file, memory, from text to values."""

from __future__ import annotations

import argparse
from pathlib import Path

from n2a_bids.config import RESERVED_NAMES
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.json import read_json_object
from n2a_bids.record.typed_json import JsonObject
from n2a_bids.system.resources import parse_memory

ABSENT = "Query.NONE"
"""An entity that must not be there, in the words of pybids."""
_METHODS = {"none": ABSENT, "required": "Query.REQUIRED", "any": "Query.OPTIONAL"}


def absolute_path(text: str) -> Path:
    """Absolute path, without resolving links (DataLad datasets are made of them)."""
    return Path(text).expanduser().absolute()


def existing_path(text: str) -> Path:
    """Absolute path of something that exists."""
    path = absolute_path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{path} does not exist")
    return path


def participant_label(text: str) -> str:
    """Label without its ``sub-``."""
    return text.strip().removeprefix("sub-")


def session_label(text: str) -> str:
    """Label without its ``ses-``."""
    return text.strip().removeprefix("ses-")


def filter_file(text: str) -> dict[str, JsonObject]:
    """Content of a BIDS filter file: query -> entity -> value."""
    path = existing_path(text)
    try:
        content = read_json_object(path, expected="a JSON file of BIDS filters", remedy="correct the file")
    except BIDSDataError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    is_nested = all(isinstance(value, dict) for value in content.values())
    if not is_nested:
        raise argparse.ArgumentTypeError(
            f'{path}: expected queries with their entities, such as {{"t1w": {{"acquisition": "hires"}}}}'
        )
    return {
        query: {name: _spelled(required) for name, required in content[query].items()} for query in content
    }


def _spelled(required: object) -> object:
    """What an entity must be, with null as pybids calls it: a settings file cannot hold null."""
    if isinstance(required, list):
        return [_spelled(value) for value in required]
    return ABSENT if required is None else required


def entity_filter(text: str) -> tuple[str, object]:
    """``ENTITY=VALUE``, ``ENTITY=VALUE,VALUE`` or ``ENTITY:none|required|any``, as snakebids takes them.

    Examples
    --------
    >>> entity_filter("run=1,2"), entity_filter("acq:none")
    (('run', ['1', '2']), ('acq', 'Query.NONE'))
    """
    name, is_value, value = text.partition("=")
    if is_value and name.isidentifier() and value:
        return name, value.split(",") if "," in value else value
    name, _, method = text.partition(":")
    if name.isidentifier() and method in _METHODS:
        return name, _METHODS[method]
    raise argparse.ArgumentTypeError(
        f"expected ENTITY=VALUE, ENTITY:none, ENTITY:required or ENTITY:any, found {text!r}"
    )


def named_path(text: str) -> tuple[str, Path]:
    """``NAME=PATH``, or a path alone, whose last part is then the name."""
    name, separator, path = text.partition("=")
    folder = existing_path(path if separator else text)
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{folder} is not a folder")
    name = name if separator else folder.name
    if name in RESERVED_NAMES:
        raise argparse.ArgumentTypeError(
            f"expected a name other than {name!r}, which links to the {RESERVED_NAMES[name]}: NAME={folder}"
        )
    return name, folder


def memory_gb(text: str) -> float:
    """Amount of memory in GB: ``1.5G``, ``8000M`` or a plain number in GB.

    Examples
    --------
    >>> memory_gb("512M")
    0.5
    """
    try:
        return parse_memory(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


class Collect(argparse.Action):
    """Add the values of every use of an option to one tuple."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Append; a value that is there already is not repeated."""
        earlier = getattr(namespace, self.dest, ())
        new = values if isinstance(values, list) else [values]
        setattr(namespace, self.dest, tuple(dict.fromkeys((*earlier, *new))))


class CollectPairs(argparse.Action):
    """Add the ``(name, value)`` pairs of every use of an option to one mapping."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Update a copy of the mapping; a name given twice with different values is refused."""
        merged = dict(getattr(namespace, self.dest, {}))
        for name, value in values:
            if merged.get(name, value) != value:
                raise argparse.ArgumentError(self, f"{name} is given twice: {merged[name]} and {value}")
            merged[name] = value
        setattr(namespace, self.dest, merged)
