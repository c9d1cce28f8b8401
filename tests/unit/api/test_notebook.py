"""The notebook of the documentation runs as it stands."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import pytest

NOTEBOOK = Path(__file__).resolve().parents[3] / "docs" / "python.ipynb"


@pytest.mark.proof
def test_notebook_runs():
    """Cell after cell, in one namespace; it asserts itself that denoising helps."""
    matplotlib.use("Agg")
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    namespace: dict[str, object] = {}
    for cell in code:
        exec(compile(cell, str(NOTEBOOK), "exec"), namespace)
    assert namespace["found"].record.n_repetitions == 2
