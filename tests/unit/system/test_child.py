"""A helper process that a signal ends is told apart from one that fails."""

from __future__ import annotations

import pytest

from n2a_bids.interfaces.denoise import Denoise
from n2a_bids.system.child import run_module

SIGNALS = [
    ("SIGKILL", MemoryError, r"was killed.*more memory.*--low-mem.*resumes"),
    ("SIGTERM", ChildProcessError, r"was stopped.*time limit.*more time.*resumes"),
    ("SIGSEGV", ChildProcessError, r"was ended by SIGSEGV.*run again"),
]


@pytest.mark.parametrize(("name", "error", "words"), SIGNALS)
def test_child_ended_by_a_signal_is_explained(tmp_path, monkeypatch, name, error, words):
    """The message names the module and what to do."""
    (tmp_path / "dies.py").write_text(f"import os, signal\nos.kill(os.getpid(), signal.{name})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(error, match="dies " + words):
        run_module("dies", [])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "error", "words"), SIGNALS)
@pytest.mark.parametrize("in_a_shell", [False, True])
def test_denoiser_ended_by_a_signal_is_explained(tmp_path, monkeypatch, in_a_shell, name, error, words):
    """nipype starts it through a shell, which may stay in between and answer with 128 and the signal."""

    class Dies(Denoise):
        _cmd = f"sh -c 'kill -{name[3:]} $$' #"
        if in_a_shell:
            _cmd = f"sh -c 'kill -{name[3:]} $$'; exit $? #"

    image = tmp_path / "image.nii.gz"
    image.touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match="the denoising process " + words):
        Dies(in_files=[image], mask_file=image).run()


def test_failing_child_is_quoted(tmp_path, monkeypatch):
    """Its own last words are in the message."""
    (tmp_path / "fails.py").write_text("raise SystemExit('the scan is upside down')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="upside down"):
        run_module("fails", [])
