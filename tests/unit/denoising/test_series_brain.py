"""``n2a-tools denoise`` on a diffusion series without a mask."""

from __future__ import annotations

import json

import nibabel as nb
import numpy as np
from dwi_dataset import write_dataset

from n2a_bids.cli.tools import main


def test_a_series_with_its_table_needs_no_mask(tmp_path):
    """The brain is found in the b0s, and what lies in it is denoised; the file of the mask is gone."""
    truth = write_dataset(tmp_path / "bids", "single")
    stem = tmp_path / "bids" / "sub-01" / "dwi" / "sub-01_dwi"
    tables = ["--bvals", f"{stem}.bval", "--bvecs", f"{stem}.bvec"]
    out = tmp_path / "out.nii.gz"
    arguments = ["denoise", f"{stem}.nii.gz", *tables, "--recipe", "fast", "--device", "cpu", "-q"]
    assert main([*arguments, "--out", str(out)]) == 0
    before, after = (np.asarray(nb.load(path).dataobj, np.float32) for path in (f"{stem}.nii.gz", out))
    changed = np.abs(after - before).max(axis=-1) > 0
    assert (changed & truth["mask"]).sum() > 0.7 * truth["mask"].sum()
    assert json.loads((tmp_path / "out.json").read_text())["strategy"] == "auto"


def test_series_without_table_is_refused(tmp_path, capsys):
    """A series is no head to find the brain in; the table is named, and nothing is written."""
    series = tmp_path / "one.nii.gz"
    nb.save(nb.Nifti1Image(np.ones((8, 8, 8, 3), np.float32), np.eye(4)), series)
    assert main(["denoise", str(series), "--out", str(tmp_path / "out.nii.gz")]) != 0
    told = capsys.readouterr().err
    assert "--mask" in told and "--bvals" in told and not (tmp_path / "out.nii.gz").exists()


def test_a_map_of_the_scanner_among_the_b0s_is_refused(tmp_path, capsys):
    """As the app does it: a trace image with b=0 would pass for a b0; nothing is written."""
    write_dataset(tmp_path / "bids", "single")
    stem = tmp_path / "bids" / "sub-01" / "dwi" / "sub-01_dwi"
    image = nb.load(f"{stem}.nii.gz")
    data, bvals = image.get_fdata(dtype=np.float32), np.loadtxt(f"{stem}.bval")
    with_trace = np.concatenate((data, data[..., bvals > 0].mean(axis=-1, keepdims=True)), axis=-1)
    nb.save(nb.Nifti1Image(with_trace, image.affine), tmp_path / "raw.nii.gz")
    np.savetxt(tmp_path / "bval", [[*bvals, 0]], fmt="%g")
    np.savetxt(tmp_path / "bvec", np.c_[np.loadtxt(f"{stem}.bvec"), np.zeros(3)], fmt="%.6f")
    tables = ["--bvals", str(tmp_path / "bval"), "--bvecs", str(tmp_path / "bvec")]
    out = ["--strategy", "mean", "--out", str(tmp_path / "out.nii.gz"), "-q"]
    assert main(["denoise", str(tmp_path / "raw.nii.gz"), *tables, *out]) == 70
    told = capsys.readouterr().err
    assert f"volume {bvals.size} (" in told and "trace image" in told
    assert not (tmp_path / "out.nii.gz").exists()
