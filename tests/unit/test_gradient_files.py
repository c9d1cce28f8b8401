"""Laws of gradient tables on disk: one direction in the head, however its image is stored."""

from __future__ import annotations

import nibabel as nb
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.realizations import Gradients
from n2a_bids.gradient_files import (
    phase_encoding_in_world,
    phase_encoding_of,
    read_gradients,
    write_gradients,
)
from n2a_bids.interfaces.synthesis import TensorMapsOfSeries

_OBLIQUE = Rotation.from_euler("xyz", (8, -5, 20), degrees=True).as_matrix()


def _affine(storage: str, rotation=None) -> np.ndarray:
    axes = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}
    affine = np.zeros((4, 4))
    for voxel_axis, letter in enumerate(storage):
        world_axis, sign = axes[letter]
        affine[world_axis, voxel_axis] = sign * (2.0, 2.5, 3.0)[world_axis]
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) @ affine[:3, :3]
    affine[:, 3] = (5, -7, 9, 1)
    return affine


_AFFINES = [_affine("LAS"), _affine("RAS"), _affine("PSL"), _affine("PSR"), _affine("LAS", _OBLIQUE)]


def _table(n: int = 12) -> Gradients:
    vectors = np.random.default_rng(0).standard_normal((n, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Gradients(np.r_[0.0, np.full(n, 1000.0)], np.vstack((np.zeros(3), vectors)))


@pytest.mark.parametrize("affine", _AFFINES, ids=lambda a: "".join(nb.aff2axcodes(a)))
def test_what_is_written_is_read_again(affine, tmp_path):
    """World vectors survive the files of any storage order."""
    table = _table()
    again = read_gradients(*write_gradients(table, affine, tmp_path / "series"), affine)
    assert np.allclose(again.bvecs, table.bvecs, atol=1e-7)
    assert np.array_equal(again.bvals, table.bvals)


def test_files_follow_the_convention_of_fsl(tmp_path):
    """x of the file runs to the left: along the first axis of LAS images, against that of RAS images."""
    table = Gradients(np.array([1000.0]), np.array([[0.6, 0.8, 0.0]]))
    for storage in ("LAS", "RAS"):
        _, bvec = write_gradients(table, _affine(storage), tmp_path / storage)
        assert np.allclose(np.loadtxt(bvec), [-0.6, 0.8, 0.0])


@pytest.mark.parametrize("affine", _AFFINES, ids=lambda a: "".join(nb.aff2axcodes(a)))
def test_first_eigenvector_is_that_of_the_world(affine, tmp_path, monkeypatch):
    """Storage order and oblique cuts leave the fibre where it lies in the head."""
    monkeypatch.chdir(tmp_path)
    table, fibre = _table(), np.array([0.6, 0.0, 0.8])
    signal = 100 * np.exp(-table.bvals / 1000 * (0.3 + 1.4 * (table.bvecs @ fibre) ** 2))
    files = write_gradients(table, affine, tmp_path / "series")
    nb.Nifti1Image(np.tile(signal, (3, 3, 3, 1)).astype(np.float32), affine).to_filename("series.nii.gz")
    nb.Nifti1Image(np.ones((3, 3, 3), np.uint8), affine).to_filename("mask.nii.gz")
    node = TensorMapsOfSeries(in_file="series.nii.gz", mask_file="mask.nii.gz")
    outputs = node.run(bval_file=files[0], bvec_file=files[1]).outputs
    assert abs(nb.load(outputs.v1_file).get_fdata()[1, 1, 1] @ fibre) > 0.9999


@pytest.mark.parametrize("affine", _AFFINES, ids=lambda a: "".join(nb.aff2axcodes(a)))
@pytest.mark.parametrize("direction", ["i", "i-", "j", "j-", "k", "k-"])
def test_phase_encoding_of_the_world_is_told_for_any_grid(affine, direction):
    """To the world and back is nothing."""
    assert phase_encoding_of(phase_encoding_in_world(direction, affine), affine) == direction


def test_one_phase_encoding_has_two_names_where_storage_differs():
    """Left to right is i in RAS and i- in LAS."""
    vector = phase_encoding_in_world("i", _affine("RAS"))
    assert np.allclose(vector, [1, 0, 0])
    assert phase_encoding_of(vector, _affine("LAS")) == "i-"
