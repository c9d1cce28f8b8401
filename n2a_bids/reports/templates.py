"""Loads the Jinja templates of the report pages and their CSS."""

from __future__ import annotations

import json

from jinja2 import Environment, FileSystemLoader, select_autoescape

from n2a_bids.packaged import DATA, packaged_text


def environment() -> Environment:
    """Jinja environment of the packaged templates; everything is escaped unless it is marked safe."""
    return Environment(
        loader=FileSystemLoader(DATA / "templates"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style() -> str:
    """CSS of all pages."""
    return packaged_text("templates/style.css")


def script_json(content: object) -> str:
    """JSON that may stand inside a script element."""
    return (
        json.dumps(content, separators=(",", ":"), allow_nan=False)
        .replace("<", "\\u003c")
        .replace("&", "\\u0026")
    )
