"""The brain of a diffusion series without a mask: what is found is checked, and what is odd of it is told."""

import nibabel as nb
import numpy as np
import pytest

from n2a_bids.denoising import brain
from n2a_bids.denoising.brain import find_series_brain
from n2a_bids.denoising.inputs import DenoiseJob
from n2a_bids.errors import BIDSDataError
from n2a_bids.external.b0_brain import B0Brain
from n2a_bids.io.images import load

SHAPE = (20, 20, 20)


@pytest.fixture
def job(tmp_path):
    """A series of 4 mm voxels: a third of them make 170 ml."""
    path = tmp_path / "series.nii.gz"
    values = np.random.default_rng(0).normal(100, 5, (*SHAPE, 7)).astype(np.float32)
    nb.save(nb.Nifti1Image(values, np.diag([4.0, 4, 4, 1])), path)
    bvals, bvecs = tmp_path / "series.bval", tmp_path / "series.bvec"
    np.savetxt(bvals, [[0] + [1000] * 6], "%d")
    directions = np.vstack([np.zeros(3), np.eye(3), np.roll(np.eye(3), 1, 0) * 0.6 + np.eye(3) * 0.8])
    np.savetxt(bvecs, directions.T, "%.6f")
    return DenoiseJob((path,), bvals=bvals, bvecs=bvecs)


def test_a_mask_that_another_way_found_is_told(job, tmp_path, monkeypatch):
    """As in the app, with the name of the series."""
    mask = np.zeros(SHAPE, bool)
    mask[:, :, 5:12] = True
    monkeypatch.setattr(brain, "find_b0_brain", lambda *_, **__: B0Brain(mask, "a threshold stood in"))
    found = find_series_brain(job, tmp_path)
    np.testing.assert_array_equal(load(found.mask_file)[0] > 0, mask)
    assert found.warnings == ("series.nii.gz: a threshold stood in",)


@pytest.mark.parametrize("n_voxels", [0, 300])
def test_what_is_no_brain_is_refused_with_the_option_of_this_command(job, tmp_path, monkeypatch, n_voxels):
    """Nothing, or 19 ml."""
    mask = np.arange(np.prod(SHAPE)).reshape(SHAPE) < n_voxels
    monkeypatch.setattr(brain, "find_b0_brain", lambda *_, **__: B0Brain(mask))
    with pytest.raises(
        BIDSDataError, match=r"series.nii.gz: expected a brain of 100 .* voxel size; give --mask"
    ):
        find_series_brain(job, tmp_path)
