"""Reads the files of ``data/``, which come with the package: sentences, templates, weights, the viewer."""

from __future__ import annotations

from pathlib import Path

import yaml

DATA = Path(__file__).resolve().parent / "data"


def packaged_text(name: str) -> str:
    """Text of a file in ``data/``, such as ``templates/style.css``."""
    return (DATA / name).read_text(encoding="utf-8")


def packaged_yaml(name: str) -> object:
    """Read a YAML file that comes with the package."""
    return yaml.safe_load(packaged_text(name))
