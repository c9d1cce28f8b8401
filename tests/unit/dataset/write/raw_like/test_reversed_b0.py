"""Series of opposite phase encoding that go along into the dataset that looks raw."""

from __future__ import annotations

import json

import nibabel as nb
import numpy as np
import pytest

from n2a_bids.dataset.write.raw_like.reversed_b0 import copy_reversed_b0
from n2a_bids.errors import BIDSDataError


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


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 4, 4, 2)])
@pytest.mark.parametrize("inherits", [False, True])
def test_b0_images_without_a_table_get_one_of_zeros(folder, tmp_path, shape, inherits):
    """Without, the dataset would be no valid one; a table of other series, by inheritance, is not theirs."""
    stem = folder / "sub-01_dir-PA_dwi"
    nb.Nifti1Image(np.ones(shape, np.float32), np.eye(4)).to_filename(stem.with_suffix(".nii.gz"))
    for extension in (".bval", ".bvec"):
        stem.with_suffix(extension).unlink()
        if inherits:
            own = folder / f"sub-01_dir-AP_dwi{extension}"
            own.rename(tmp_path / "bids" / f"dwi{extension}")
    copy_reversed_b0(tmp_path / "bids", tmp_path / "raw", [folder / "sub-01_dir-AP_dwi.nii.gz"], 50.0)
    copy = tmp_path / "raw" / "sub-01" / "dwi" / stem.name
    count = int(np.prod(shape[3:]))
    assert np.loadtxt(copy.with_suffix(".bval"), ndmin=1).tolist() == [0] * count
    assert np.loadtxt(copy.with_suffix(".bvec"), ndmin=2).tolist() == [[0] * count] * 3


@pytest.mark.parametrize("content", [None, "/annex/objects/MD5E-s1--a.nii.gz\n"])
@pytest.mark.parametrize(
    ("polarity", "bvals", "is_refused"),
    [
        ("j", "0 0", True),
        ("j", "0 1000 1000", True),
        ("j-", "0 0", False),
        ("i", "0 0", False),
        ("j", "1000 1000", False),
        ("j", "0 0 0 1000 1000 1000 1000", False),
    ],
)
def test_b0_images_that_were_not_fetched_are_refused(folder, tmp_path, content, polarity, bvals, is_refused):
    """Without them, nothing would be corrected; other images that are not there are of no concern."""
    stem = folder / "sub-01_dir-PA_dwi"
    image = stem.with_suffix(".nii.gz")
    image.unlink()
    image.symlink_to("nowhere") if content is None else image.write_text(content)
    stem.with_suffix(".bval").write_text(bvals)
    stem.with_suffix(".json").write_text(json.dumps({"PhaseEncodingDirection": polarity}))
    arguments = tmp_path / "bids", tmp_path / "raw", [folder / "sub-01_dir-AP_dwi.nii.gz"], 50.0
    if is_refused:
        with pytest.raises(BIDSDataError, match=r"dir-PA_dwi.nii.gz: .*'datalad get'"):
            copy_reversed_b0(*arguments)
    else:
        assert copy_reversed_b0(*arguments) == []
