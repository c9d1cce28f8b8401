"""Loads the Jinja templates and CSS of the report pages."""

from __future__ import annotations

import json
from importlib import resources

from jinja2 import Environment, FileSystemLoader, select_autoescape


def environment() -> Environment:
    """Jinja environment of the packaged templates; everything is escaped unless it is marked safe."""
    folder = resources.files("n2a_bids").joinpath("data", "templates")
    return Environment(
        loader=FileSystemLoader(str(folder)),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style() -> str:
    """CSS of all pages."""
    return resources.files("n2a_bids").joinpath("data", "templates", "style.css").read_text(encoding="utf-8")


def script_json(content: object) -> str:
    """JSON that may stand inside a script element."""
    return (
        json.dumps(content, separators=(",", ":"), allow_nan=False)
        .replace("<", "\\u003c")
        .replace("&", "\\u0026")
    )
