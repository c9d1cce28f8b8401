"""Laws of b0 images that show the distortion of other series."""

from __future__ import annotations

import nibabel as nb
import numpy as np
from scipy import ndimage

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.distortion.pepolar import PairCorrection
from n2a_bids.interfaces.dwi import reversed_b0
from n2a_bids.interfaces.dwi.distortion import without_field
from n2a_bids.interfaces.dwi.reversed_b0 import MeanReversedB0, ShareDisplacement, mean_without_motion
from n2a_bids.io.gradients import write_gradients

_AFFINE = np.diag([6.0, 6.0, 6.0, 1.0])


class _Still:
    """Of so many volumes, none moved."""

    def __init__(self, count: int):
        self.voxel_maps = np.tile(np.eye(4), (count, 1, 1))


def _head() -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.linspace(-1.2, 1.2, n) for n in (24, 26, 14)), indexing="ij"))
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(grid.shape[1:]), 2)
    return np.where((grid**2).sum(axis=0) < 0.8, 100 * (1 + 2 * texture).clip(0.5), 0).astype(np.float32)


def test_b0s_are_averaged_without_the_motion_between_them():
    """A head that moved is not blurred."""
    head = _head()
    moved = np.stack([head, ndimage.shift(head, (0.8, 0, 0), order=3)], axis=-1)
    inside = ndimage.binary_erosion(head > 0)
    error = np.abs(mean_without_motion(moved, _AFFINE) - head)[inside].mean()
    assert error < 0.4 * np.abs(moved.mean(axis=-1) - head)[inside].mean()


def test_one_volume_and_a_foreign_table_are_taken_as_they_are(tmp_path):
    """A 3D image; a table of another length, by inheritance, says nothing about it."""
    head = _head()
    nb.Nifti1Image(head, _AFFINE).to_filename(tmp_path / "b0.nii.gz")
    (tmp_path / "dwi.bval").write_text("0 1000 1000\n")
    (tmp_path / "dwi.bvec").write_text("0 1 0\n0 0 1\n0 0 0\n")
    node = MeanReversedB0(
        b0_mask_method="otsu",
        in_file=tmp_path / "b0.nii.gz",
        bval_file=tmp_path / "dwi.bval",
        bvec_file=tmp_path / "dwi.bvec",
    )
    outputs = node.run(cwd=str(tmp_path)).outputs
    assert np.array_equal(nb.load(outputs.b0_file).get_fdata(), head)
    assert nb.load(outputs.mask_file).get_fdata().any()


def test_b0s_of_a_series_have_the_times_of_their_volumes(tmp_path, monkeypatch):
    """A head that moves on between two that lie far apart need not have moved between neighbours."""
    seen = []
    monkeypatch.setattr(
        reversed_b0, "estimate_motion", lambda *_, times: seen.append(list(times)) or _Still(len(times))
    )
    head = _head()
    volumes = [head if index in (0, 4, 5) else 0.3 * head for index in range(7)]
    nb.Nifti1Image(np.stack(volumes, axis=-1), _AFFINE).to_filename(tmp_path / "epi.nii.gz")
    written = write_gradients(
        Gradients(np.array([0, 1000, 1000, 1000, 0, 0, 1000.0]), np.tile([1.0, 0, 0], (7, 1))),
        _AFFINE,
        tmp_path / "epi",
    )
    node = MeanReversedB0(
        b0_mask_method="otsu", in_file=tmp_path / "epi.nii.gz", bval_file=written[0], bvec_file=written[1]
    )
    node.run(cwd=str(tmp_path))
    assert seen == [[0, 4, 5]]


def test_a_b0_in_real_and_imaginary_parts_is_seen_as_a_magnitude(tmp_path):
    """Its phase would make folds of dark and bright of the real part."""
    head = _head()
    wave = np.exp(2j * np.arange(len(head)))[:, None, None]
    for name in ("real", "imag"):
        part = getattr(head * wave, name).astype(np.float32)
        nb.Nifti1Image(part, _AFFINE).to_filename(tmp_path / f"{name}.nii.gz")
    node = MeanReversedB0(
        b0_mask_method="otsu", in_file=tmp_path / "real.nii.gz", imaginary_file=tmp_path / "imag.nii.gz"
    )
    found = nb.load(node.run(cwd=str(tmp_path)).outputs.b0_file).get_fdata()
    np.testing.assert_allclose(found, head, atol=1e-3)


def test_a_field_is_shared_in_the_voxels_of_each_series(tmp_path):
    """Mirrored storage turns the sign; larger voxels and shorter readouts make fewer voxels of it."""
    displacement = np.full((4, 4, 4), 1.5, np.float32)
    paths = []
    for number, affine in enumerate((_AFFINE, np.diag([6.0, -6.0, 6.0, 1.0]), np.diag([6.0, 7.5, 6.0, 1.0]))):
        paths.append(str(tmp_path / f"series_{number}.nii.gz"))
        nb.Nifti1Image(displacement, affine).to_filename(paths[-1])
    node = ShareDisplacement(
        displacement_files=[paths[0]] * 2,
        images=paths,
        phase_encoding=[[0.0, -1.0, 0.0]] * 3,
        leaders=[0, 0, 0],
        readout_ratios=[1.0, 1.0, 0.5],
    )
    files = node.run(cwd=str(tmp_path)).outputs.displacement_files
    assert [round(float(nb.load(file).get_fdata().mean()), 4) for file in files] == [1.5, -1.5, 0.6]


def test_without_a_field_nothing_moves_and_the_record_says_why():
    """The series are left as they are."""
    image = np.ones((3, 3, 3), np.float32)
    found = PairCorrection(5 * image, -5 * image, np.eye(4), (image, image), 2, 0.01, True)
    left = without_field(found, (2 * image, 3 * image), "the field folds")
    assert not left.displacement.any() and not left.second_displacement.any()
    assert left.corrected[1][0, 0, 0] == 3
    assert "the distortion is left as it is: the field folds" in left.warnings
