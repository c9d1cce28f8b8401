"""A helper process that the kernel kills for memory is told apart from one that fails."""

import pytest

from n2a_bids.interfaces.child import run_module


def test_killed_child_is_a_lack_of_memory(tmp_path, monkeypatch):
    """The message names the module and what to do."""
    (tmp_path / "dies.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MemoryError, match=r"dies was killed.*more memory.*resumes"):
        run_module("dies", [])


def test_failing_child_is_quoted(tmp_path, monkeypatch):
    """Its own last words are in the message."""
    (tmp_path / "fails.py").write_text("raise SystemExit('the scan is upside down')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="upside down"):
        run_module("fails", [])
