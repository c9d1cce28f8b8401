"""Series of opposite phase encoding that go along into the dataset that looks raw."""

from __future__ import annotations

import json

import nibabel as nb
import numpy as np
import pytest

from n2a_bids.dataset.write.raw_like.reversed_b0 import copy_reversed_b0


@pytest.fixture
def folder(tmp_path):
    """An AP series to be denoised, and a PA series of b=70, which is b0 for who says so."""
    folder = tmp_path / "bids" / "sub-01" / "dwi"
    folder.mkdir(parents=True)
    for direction, polarity, bvals in (("AP", "j-", [0, 1000, 1000, 1000]), ("PA", "j", [70, 70, 70])):
        stem = folder / f"sub-01_dir-{direction}_dwi"
        image = nb.Nifti1Image(np.ones((4, 4, 4, len(bvals)), np.float32), np.eye(4))
        image.to_filename(stem.with_suffix(".nii.gz"))
        sidecar = {"PhaseEncodingDirection": polarity, "TotalReadoutTime": 0.05}
        stem.with_suffix(".json").write_text(json.dumps(sidecar))
        np.savetxt(stem.with_suffix(".bval"), [bvals], "%d")
        np.savetxt(stem.with_suffix(".bvec"), np.resize(np.eye(3), (len(bvals), 3)).T, "%d")
    return folder


@pytest.mark.parametrize(("b0_threshold", "copied"), [(50.0, []), (100.0, ["sub-01_dir-PA_dwi.nii.gz"])])
def test_the_threshold_of_the_run_decides_what_is_a_b0(folder, tmp_path, b0_threshold, copied):
    """A series that is denoised itself is not copied; one of b0s alone is, with sidecar and tables."""
    root, denoised = tmp_path / "raw", [folder / "sub-01_dir-AP_dwi.nii.gz"]
    found = copy_reversed_b0(tmp_path / "bids", root, denoised, b0_threshold)
    assert [image.path.name for image in found] == copied
    written = sorted(path.name for path in root.rglob("*") if path.is_file())
    assert len(written) == 4 * len(copied) and all("dir-PA" in name for name in written)
