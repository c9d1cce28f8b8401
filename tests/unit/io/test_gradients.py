"""Laws of gradient tables on disk: one direction in the head, however its image is stored."""

from __future__ import annotations

import nibabel as nb
import numpy as np
import pytest
from diffusion_series import random_table
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.shells import find_shells
from n2a_bids.errors import BIDSDataError
from n2a_bids.interfaces.dwi.tensor import TensorMapsOfSeries
from n2a_bids.io.gradients import (
    inspect_gradients,
    phase_encoding_in_world,
    phase_encoding_of,
    read_gradients,
    write_gradients,
)

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


@pytest.mark.parametrize("affine", _AFFINES, ids=lambda a: "".join(nb.aff2axcodes(a)))
def test_what_is_written_is_read_again(affine, tmp_path):
    """World vectors survive the files of any storage order."""
    table = random_table(1, 12)
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
    table, fibre = random_table(1, 12), np.array([0.6, 0.0, 0.8])
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


def _write(folder, bvals: str, bvecs: str):
    files = folder / "series.bval", folder / "series.bvec"
    for file, text in zip(files, (bvals, bvecs), strict=True):
        file.write_bytes(text.encode("utf-8"))
    return files


def test_directions_of_low_b_values_go_in_and_out(tmp_path):
    """IVIM: b of 10 to 50 count as b0, and keep the direction that they were measured with."""
    table = Gradients(np.array([0.0, 10, 30, 50, 800]), np.vstack((np.zeros(3), np.eye(3)[[0, 1, 2, 0]])))
    again = read_gradients(*write_gradients(table, _AFFINES[0], tmp_path / "series"), _AFFINES[0])
    assert np.allclose(again.bvecs, table.bvecs)
    assert again.is_b0.tolist() == [True, True, True, True, False]


def test_a_b0_with_a_b_value_is_a_b0_where_it_has_no_direction(tmp_path):
    """b = 60 and a zero vector: accepted, with a note; b = 1000 and a zero vector is a trace image."""
    files = _write(tmp_path, "60 1000 1000\n", "0 1 0\n0 0 1\n0 0 0\n")
    gradients, notes = inspect_gradients(*files, _AFFINES[0])
    assert gradients.is_b0.tolist() == [True, False, False]
    assert gradients.bvals[0] == 60 and "1 volume of b=60 has no direction" in notes[0]
    files = _write(tmp_path, "1000 1000 1000\n", "0 1 0\n0 0 1\n0 0 0\n")
    with pytest.raises(BIDSDataError, match=r"volume 0 .*trace"):
        read_gradients(*files, _AFFINES[0])


def test_the_threshold_decides_what_a_b0_is(tmp_path):
    """--b0-threshold: 0 makes every b above it weighted, 100 makes b = 80 a b0."""
    files = _write(tmp_path, "0 20 80 1000\n", "0 1 0 1\n0 0 1 0\n0 0 0 0\n")
    for threshold, n_b0 in ((0.0, 1), (50.0, 2), (100.0, 3)):
        gradients = read_gradients(*files, _AFFINES[0], b0_threshold=threshold)
        assert gradients.is_b0.sum() == np.count_nonzero(find_shells(gradients) == 0) == n_b0


@pytest.mark.parametrize(
    ("bvals", "bvecs"),
    [
        ("\ufeff0 1000 1000\n", "\ufeff0 1 0\n0 0 1\n0 0 0\n"),
        ("0\t1000\t1000\r\n", "0\t1\t0\r\n0\t0\t1\r\n0\t0\t0\r\n"),
        ("  0 1e3 1000.0  \n\n", "nan 1 0\nnan 0 1\nnan 0 0\n\n"),
    ],
    ids=["byte order mark", "tabs", "spaces, NaN for b0"],
)
def test_what_editors_leave_in_tables_is_read(bvals, bvecs, tmp_path):
    """Byte order marks, tabs, line ends of Windows, empty lines."""
    gradients = read_gradients(*_write(tmp_path, bvals, bvecs), _affine("LAS"))
    assert gradients.bvals.tolist() == [0, 1000, 1000]
    assert np.allclose(gradients.bvecs, [[0, 0, 0], [-1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    ("bvals", "message"),
    [
        ("0,1000,1000", "found commas; replace"),
        ("0 1 3", "largest one of 3 beside 2 directions; are they in units of 1000"),
        ("0 1e9 1e9", "are they in s/m2"),
        ("0 1000 nan", "found nan for volume 2 "),
        ("0 1000 inf", "found inf for volume 2 "),
        ("0 1000 b", "expected numbers"),
    ],
)
def test_tables_that_mean_something_else_are_named(bvals, message, tmp_path):
    """One error that names the file and what to do."""
    files = _write(tmp_path, bvals, "0 1 0\n0 0 1\n0 0 0\n")
    with pytest.raises(BIDSDataError, match=message) as caught:
        read_gradients(*files, _AFFINES[0])
    assert str(files[0]) in str(caught.value)


def test_lost_b_values_beside_directions_are_named(tmp_path):
    """Zeros for a whole series of directions are no b0s; one direction for all of them, or few, may be."""
    weighted = random_table(2, 16).bvecs

    def read(bvecs):
        rows = "\n".join(" ".join(f"{value:.4f}" for value in row) for row in np.transpose(bvecs))
        return read_gradients(*_write(tmp_path, " ".join("0" * len(bvecs)), rows), np.eye(4))

    with pytest.raises(BIDSDataError, match="b-values of 16 directions of unit length, found zeros alone"):
        read(weighted)
    for bvecs in (np.zeros((9, 3)), np.tile([1.0, 0, 0], (9, 1)), np.vstack([weighted[:7], -weighted[2:7]])):
        assert read(bvecs).is_b0.all()


@pytest.mark.parametrize(
    ("bvals", "lengths", "remedy"),
    [
        ("2000 2000 2000", (0, 0.7071, 1), "if lengths scale the b-values"),
        ("0 2000 2000", (0, 0.7071, 1), "if lengths scale the b-values"),
        ("1000 1000 1000", (0, 1, 1), "if lengths scale the b-values"),
        ("0 1000 1000", (0, 0, 1), r"from 0\); drop trace and ADC volumes$"),
        ("0 1000 1000", (0, 1, 1000), r"from 0\); restore the exported table$"),
    ],
)
def test_what_lengths_may_mean_is_told(bvals, lengths, remedy, tmp_path):
    """One nominal b for all volumes is no sign of trace images."""
    files = _write(tmp_path, bvals, " ".join(map(str, lengths)) + "\n0 0 0\n0 0 0\n")
    with pytest.raises(BIDSDataError, match=remedy):
        read_gradients(*files, _AFFINES[0])
