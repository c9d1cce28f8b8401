"""``n2a-tools describe``: the Boutiques descriptor of ``n2a``, and the JSON Schema of its settings file."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from n2a_bids import __version__
from n2a_bids.cli.app.parser import build_parser
from n2a_bids.cli.arguments import existing_path, filter_file
from n2a_bids.config import Config
from n2a_bids.config.options import Declared, Option, declared_fields
from n2a_bids.config.schema import settings_schema
from n2a_bids.errors import EXIT_CODES
from n2a_bids.io.files import write_whole
from n2a_bids.record.typed_json import JsonObject

SCHEMA_VERSION = "0.5"
_IMAGE = "n2a"
_OUTPUT_FOLDERS = {"output_dir": "the derivative dataset", "emit_raw_like": "the dataset that looks raw"}
"""Inputs that name a folder to write, and what stands there afterwards."""


@dataclass(frozen=True, slots=True)
class DescribeConfig:
    """What is described, and where that goes."""

    what: Annotated[
        Literal["boutiques", "settings"],
        Option(
            "'boutiques': a descriptor of the command line, for Boutiques, CBRAIN and Nipoppy; 'settings': "
            "the JSON Schema of the file that --config-file takes, for editors",
            positional=True,
        ),
    ]  # fmt: skip
    image: Annotated[str, Option("container image that the descriptor names", metavar="NAME:TAG")] = "n2a"
    out: Annotated[Path | None, Option("file to write", metavar="FILE", default="standard output")] = None


def run_describe(config: DescribeConfig) -> None:
    """Write a description as JSON.

    Parameters
    ----------
    config : DescribeConfig
        What, and where to.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    described = boutiques_descriptor(config.image) if config.what == "boutiques" else settings_schema()
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    if config.out is None:
        sys.stdout.write(text)
    else:
        write_whole(config.out, text)


def boutiques_descriptor(image: str = _IMAGE) -> JsonObject:
    """Describe ``n2a`` for Boutiques, and for what is built on it (CBRAIN, Nipoppy, Clowdr).

    Parameters
    ----------
    image : str
        Name of the container image, with its tag.

    Returns
    -------
    descriptor : dict
        Follows the Boutiques schema 0.5; every option of ``n2a --help`` is an input.
    """
    parser, declared = build_parser(), _declared_by_dest()
    actions = [action for action in parser._actions if not _is_information(action)]
    inputs = [_describe_input(action, declared.get(action.dest)) for action in actions]
    stages = [_name(action) for action in actions if action.dest == "stage"]
    keys = " ".join(one["value-key"] for one in inputs)
    return {
        "name": "n2a_bids",
        "tool-version": __version__,
        "schema-version": SCHEMA_VERSION,
        "description": parser.description,
        "author": "The n2a_bids developers",
        "command-line": f"n2a {keys}",
        "container-image": {"type": "docker", "image": image},
        "inputs": inputs,
        "groups": [{"id": "stage", "name": "do less", "members": stages, "mutually-exclusive": True}],
        "output-files": [
            {
                "id": f"written_{name}",
                "name": text,
                "path-template": f"[{name.upper()}]",
                "optional": name != "output_dir",
            }
            for name, text in _OUTPUT_FOLDERS.items()
        ],
        "error-codes": [{"code": code, "description": text} for code, text in EXIT_CODES.items()],
        "tags": {"domain": ["neuroinformatics", "MRI"], "application-type": ["BIDS-App"]},
    }


def _declared_by_dest() -> dict[str, Declared]:
    found = {}
    for one in declared_fields(Config):
        if one.is_section:
            found |= {f"{one.name}.{inner.name}": inner for inner in declared_fields(one.hint)}
        else:
            found[one.name] = one
    return found


def _is_information(action: argparse.Action) -> bool:
    """Whether it only tells something, or is there for compatibility and does nothing."""
    return action.dest in ("help", "version") or "compatibility" in (action.help or "")


def _name(action: argparse.Action) -> str:
    """The first long spelling of an option, as an identifier."""
    spelled = next((flag for flag in action.option_strings if flag.startswith("--")), action.dest)
    return spelled.removeprefix("--").replace("-", "_")


def _describe_input(action: argparse.Action, declared: Declared | None) -> JsonObject:
    """One option or positional argument."""
    name = _name(action)
    described: JsonObject = {
        "id": name,
        "name": name.replace("_", " "),
        "description": (action.help or "").replace("%%", "%"),
        "value-key": f"[{name.upper()}]",
        "optional": bool(action.option_strings),
    }
    if action.option_strings:
        described["command-line-flag"] = f"--{name.replace('_', '-')}"
    return described | _type_of(action, declared)


def _type_of(action: argparse.Action, declared: Declared | None) -> JsonObject:
    """Type, choices, range and number of values of an input."""
    if action.nargs == 0:
        return {"type": "Flag"}
    found: JsonObject = {"type": "String"}
    if action.choices:
        found["value-choices"] = list(action.choices)
    elif declared is not None and declared.item in (int, float) and declared.option.reading == "plain":
        found |= {"type": "Number", "integer": declared.item is int} | _range_of(declared)
    elif action.dest == "bids_dir" or action.type in (existing_path, filter_file):
        found["type"] = "File"
    if action.nargs == "+":
        found |= {"list": True, "list-separator": " ", "min-list-entries": 1}
    return found


def _range_of(declared: Declared) -> JsonObject:
    allowed, limits = declared.range, {}
    if allowed is not None and math.isfinite(allowed.low):
        limits |= {"minimum": allowed.low, "exclusive-minimum": allowed.above}
    if allowed is not None and math.isfinite(allowed.high):
        limits["maximum"] = allowed.high
    return limits
