"""The examples in docstrings say what the code does."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import n2a_bids

PACKAGE = Path(n2a_bids.__file__).parent
NAMES = sorted(
    ".".join(("n2a_bids", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", NAMES)
def test_examples_hold(name):
    """Each module with examples has at least one that runs, and all give what they show."""
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert attempted
    assert failed == 0
