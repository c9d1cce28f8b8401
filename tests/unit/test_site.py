"""The documentation site builds with its links checked, where `make docs` has installed mkdocs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_every_page_is_in_the_navigation():
    """No page can be reached by search alone."""
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    unlisted = {"benchmarks/2026-11-21/summary.md"}  # made by the benchmark
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    assert sorted(page for page in pages - unlisted if f": {page}\n" not in navigation) == []


def test_site_builds_strictly(tmp_path):
    """Dead links and anchors, and docstrings that are not found, stop the build."""
    pytest.importorskip("mkdocstrings", reason="mkdocs is not installed; `make docs` installs it")
    pytest.importorskip("material", reason="mkdocs is not installed; `make docs` installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "What it is worth" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
