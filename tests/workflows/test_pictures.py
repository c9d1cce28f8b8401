"""Pictures of the workflows are those of the workflows that run, and the page explains every step."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    """Kind of image -> SVG that its workflow gives today."""
    spec = importlib.util.spec_from_file_location("draw_workflows", DOCS / "pictures" / "draw_workflows.py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return {kind.name: module.draw(kind) for kind in module.kinds()}


def test_pictures_are_up_to_date(drawn):
    """Whoever changes a workflow draws it anew: python docs/pictures/draw_workflows.py docs/pictures"""
    committed = {
        name: (DOCS / "pictures" / f"workflow-{name}.svg").read_text(encoding="utf-8") for name in drawn
    }
    assert committed == drawn


def test_the_denoising_stands_between_alignment_and_files(drawn):
    """Nothing is denoised before it is aligned, nor written before it is denoised."""
    for svg in drawn.values():
        heights = {step: float(y) for y, step in re.findall(r'<text [^>]*? y="(\d+)"[^>]*>([^<]+)<', svg)}
        aligned = heights.get("images aligned", heights.get("repetitions resampled"))
        assert aligned < heights["denoised"] < heights["files written"]


def test_every_step_is_explained(drawn):
    """In the table below its picture, or in its text."""
    page = (DOCS / "how_it_works.md").read_text(encoding="utf-8")
    steps = {
        step for name, svg in drawn.items() if name != "micr" for step in re.findall(r">([^<]+)</text>", svg)
    }
    rows = " ".join(re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE))
    assert {step for step in steps if step not in rows} == set()
