"""The comparison of two output folders tells what differs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np

SCRIPT = Path(__file__).with_name("same_outputs.py")


def test_differences_of_two_output_folders(tmp_path):
    """A voxel, a number in a sidecar and a missing file are named; times are not."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    nb.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)).to_filename(before / "a_T1w.nii.gz")
    (before / "a_T1w.json").write_text(json.dumps({"Seconds": {"total": 1}, "Gain": {"dB": 2.5}}))
    (before / "a_dwi.bval").write_text("0 1000\n")
    shutil.copytree(before, after)
    (after / "a_T1w.json").write_text(json.dumps({"Seconds": {"total": 2}, "Gain": {"dB": 2.5}}))
    assert run(before, after) == (0, "the same images, sidecars and tables\n")
    nb.Nifti1Image(np.eye(2, dtype=np.float32)[..., None], np.eye(4)).to_filename(after / "a_T1w.nii.gz")
    (after / "a_T1w.json").write_text(json.dumps({"Gain": {"dB": 2.6}}))
    (after / "a_dwi.bval").unlink()
    code, text = run(before, after)
    assert code == 1
    assert text.splitlines() == [
        f"a_dwi.bval: only in {before}",
        "a_T1w.json: Gain: dB: 2.5 became 2.6",
        "a_T1w.nii.gz: shape (2, 2, 2) became (2, 2, 1)",
    ]


def run(before: Path, after: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, SCRIPT, before, after], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout
