"""Levels of detail of the rigid registration follow the size of the brain."""

from __future__ import annotations

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.io.transforms import read_itk_transform, write_itk_transform
from n2a_bids.system.child import run_ants


@pytest.mark.slow
@pytest.mark.parametrize("voxel_mm", [2.5, 0.25])
def test_a_small_brain_is_registered_as_well_as_a_large_one(tmp_path, voxel_mm):
    """A brain of 8 ml or less is not blurred to a few voxels: the motion is found to a tenth of a voxel."""
    rng = np.random.default_rng(0)
    shape, radius = (44, 48, 40), np.array([15.0, 17.0, 13.0])
    places = np.stack(np.indices(shape), -1) - np.array(shape) / 2
    mask = ((places / radius) ** 2).sum(-1) < 1
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), 2.0)
    head = np.where(mask, 100 + 20 * texture / texture.std(), 0)
    shift = np.array([1.3, -0.8, 0.9])
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    images = {"fixed": head, "moving": ndimage.shift(head, shift, order=3), "fixed_mask": mask}
    files = {name: str(tmp_path / f"{name}.nii.gz") for name in images}
    for name, image in images.items():
        noisy = image + (0 if name == "fixed_mask" else rng.normal(0, 3, shape))
        nb.save(nb.Nifti1Image(noisy.astype(np.float32), affine), files[name])
    files |= {name: str(tmp_path / f"{name}.txt") for name in ("initial", "out_file")}
    write_itk_transform(np.eye(4), tmp_path / "initial.txt")
    run_ants("rigid", files, tmp_path, random_seed=1)
    found = read_itk_transform(tmp_path / "out_file.txt")
    centre = np.append(np.array(shape) / 2 * voxel_mm, 1.0)
    np.testing.assert_allclose((found @ centre - centre)[:3] / voxel_mm, shift, atol=0.1)


def test_a_mouse_is_not_looked_at_in_voxels_of_a_tenth_of_its_brain(tmp_path):
    """b0s and weighted volumes of rodents lay 0.28 voxels off each other, of large heads less than 0.1."""
    from n2a_bids.external.ants import _brain_box

    brain = np.zeros((36, 36, 36), np.float32)
    brain[6:30, 6:30, 6:30] = 1
    path = tmp_path / "mask.nii.gz"
    nb.save(nb.Nifti1Image(brain, np.diag([0.25, 0.25, 0.25, 1.0])), path)
    _, _, levels = _brain_box(str(path), str(path))
    assert levels == pytest.approx([1.65, 0.82], abs=0.05)
