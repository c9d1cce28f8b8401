"""The validator of BIDS, where it is installed: its word on a dataset."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def assert_valid(folder: Path, *, optional: bool = False) -> None:
    """Fail with its complaints; without it, skip the test, or go on where it is a part of one."""
    beside_python = shutil.which("bids-validator-deno", path=Path(sys.executable).parent)
    validator = beside_python or shutil.which("bids-validator-deno")
    if validator is None:
        if optional:
            return
        pytest.skip("bids-validator-deno is not installed: it comes with the test extra")
    command = [validator, str(folder), "--ignoreWarnings"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
