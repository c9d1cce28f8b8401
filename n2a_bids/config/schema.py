"""JSON Schema of the settings file, with which editors complete and check it."""

from __future__ import annotations

import dataclasses
import math
import typing
from pathlib import Path

from n2a_bids.config import Config
from n2a_bids.config.options import Declared, Range, declared_fields
from n2a_bids.config.toml import OF_THIS_RUN
from n2a_bids.record.typed_json import JsonObject

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", Path: "string"}


def settings_schema() -> JsonObject:
    """JSON Schema of a settings file, as ``--config-file`` takes it.

    Returns
    -------
    schema : dict
        Draft 2020-12. Every key has a description; a key that no setting has is an error, as it is for
        ``n2a``. The table ``[environment]`` is free: it is a record of an earlier run.
    """
    properties = {
        declared.name: _section(declared) if declared.is_section else _value(declared)
        for declared in declared_fields(Config)
        if declared.name not in OF_THIS_RUN
    }
    properties["environment"] = {
        "type": "object",
        "description": "Record of the run that wrote the file; never read.",
    }
    return {
        "$schema": DIALECT,
        "title": "Settings of n2a",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _section(declared: Declared) -> JsonObject:
    """One table of the file."""
    first, _, _ = (declared.hint.__doc__ or "").partition("\n")
    return {
        "type": "object",
        "description": first,
        "additionalProperties": False,
        "properties": {one.name: _value(one) for one in declared_fields(declared.hint)},
    }


def _value(declared: Declared) -> JsonObject:
    """One key: type, choices, range, default and description."""
    schema: JsonObject = {"description": declared.description} | _type_of(declared)
    default = declared.default
    if default not in (None, dataclasses.MISSING) and not isinstance(default, dict):
        schema["default"] = list(default) if isinstance(default, tuple) else default
    return schema


def _type_of(declared: Declared) -> JsonObject:
    if typing.get_origin(declared.hint) is dict or declared.hint is dict:
        return {"type": "object"}
    one: JsonObject = {"type": _TYPES.get(declared.item, "string")}
    if declared.choices:
        one["enum"] = list(declared.choices)
    if declared.range is not None:
        one |= _limits(declared.range)
    return {"type": "array", "items": one} if typing.get_origin(declared.hint) is tuple else one


def _limits(allowed: Range) -> JsonObject:
    """Keywords of a range.

    Examples
    --------
    >>> _limits(Range(0, 1, above=True)), _limits(Range(1))
    ({'exclusiveMinimum': 0, 'maximum': 1}, {'minimum': 1})
    """
    limits: JsonObject = {}
    if math.isfinite(allowed.low):
        limits["exclusiveMinimum" if allowed.above else "minimum"] = allowed.low
    if math.isfinite(allowed.high):
        limits["maximum"] = allowed.high
    return limits
