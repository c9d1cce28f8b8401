"""The real single series, through the command line: what n2a writes for a scan of its users."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest


@pytest.mark.proof
@pytest.mark.real_data
def test_real_series_is_denoised_without_anatomy_in_the_residual(tmp_path, real_data):
    """A real 4 mm series: all derivatives, finite values on the scanner's grid, less noise than before."""
    bids = real_data / "dwi"
    out = tmp_path / "out"
    command = [sys.executable, "-m", "n2a_bids", bids, out, "participant", "--participant-label", "ds114"]
    options = ["--modalities", "dwi", "--recipe", "fast", "--work-dir", tmp_path / "work"]
    subprocess.run([str(word) for word in (*command, *options)], check=True)
    folder = out / "sub-ds114" / "dwi"
    raw = nb.load(bids / "sub-ds114" / "dwi" / "sub-ds114_dwi.nii.gz")
    denoised = nb.load(folder / "sub-ds114_desc-denoised_dwi.nii.gz")
    assert denoised.shape == raw.shape
    assert np.allclose(denoised.affine, raw.affine)
    assert np.isfinite(np.asarray(denoised.dataobj)).all()
    record = json.loads(Path(folder / "sub-ds114_desc-denoised_figures.json").read_text())
    assert record["chosen"]["mean_won"] is False
    assert abs(record["residual_edge_correlation"]) < 0.5
    assert (out / "sub-ds114.html").exists()
