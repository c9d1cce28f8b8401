"""Laws of reading and writing NIfTI."""

import contextlib
import os

import nibabel as nb
import numpy as np
import pytest

from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import remove_leftovers, whole_file
from n2a_bids.io.images import load, load_mask, load_volumes, same_grid, save_like
from n2a_bids.io.transforms import read_itk_transform, write_itk_transform

GEOMETRY = (
    *("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y"),
    *("qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units", "dim"),
)


@pytest.fixture
def oblique(tmp_path):
    """A uint8 image with scaling, an oblique left-handed affine and different geometry codes."""
    turn = nb.eulerangles.euler2mat(0.1, -0.2, 0.3)
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.9, 1.1, 1.3])
    affine[:3, 3] = (11.3, -47.1, 5.7)
    data = np.random.default_rng(0).integers(0, 255, (7, 8, 9), dtype=np.uint8)
    image = nb.Nifti1Image(data, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 2)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_slope_inter(2.0, 5.0)
    image.header["cal_max"] = 255
    path = tmp_path / "oblique.nii.gz"
    image.to_filename(path)
    return path


@pytest.mark.parametrize(("code_q", "code_s"), [(1, 2), (0, 2), (1, 0), (4, 4)])
def test_save_like_keeps_geometry_bit_for_bit(oblique, tmp_path, code_q, code_s):
    """Every geometry field of the header survives, whatever its codes."""
    image = nb.load(oblique)
    image.header["qform_code"], image.header["sform_code"] = code_q, code_s
    source = tmp_path / "source.nii.gz"
    nb.Nifti1Image(np.asarray(image.dataobj), None, image.header).to_filename(source)
    out_file = save_like(load(source)[0], source, tmp_path / "out.nii.gz")
    before, after = nb.load(source), nb.load(out_file)
    for field in GEOMETRY:
        np.testing.assert_array_equal(before.header[field], after.header[field], err_msg=field)
    np.testing.assert_array_equal(before.affine, after.affine)


def test_save_like_writes_scaled_values_as_float32(oblique, tmp_path):
    """Values, not stored integers, are written: as float32 and without scaling."""
    data, _ = load(oblique)
    saved = nb.load(save_like(data, oblique, tmp_path / "out.nii.gz"))
    assert saved.get_data_dtype() == np.float32
    assert saved.header["cal_max"] == 0
    np.testing.assert_array_equal(np.asarray(saved.dataobj), data)
    assert data.max() > 255


def test_save_like_gives_equal_bytes_for_equal_data(oblique, tmp_path):
    """No clock and no name gets into the file."""
    data, _ = load(oblique)
    first = save_like(data, oblique, tmp_path / "first.nii.gz")
    second = save_like(data, oblique, tmp_path / "second.nii.gz")
    assert first.read_bytes() == second.read_bytes()


def test_save_like_refuses_another_grid(oblique, tmp_path):
    """Data of another shape never get this header."""
    with pytest.raises(ValueError, match="grid"):
        save_like(np.zeros((3, 3, 3)), oblique, tmp_path / "out.nii.gz")


def test_whole_file_leaves_the_old_file_after_a_failure(tmp_path):
    """A writer that dies leaves what was there, and no temporary file."""
    target = tmp_path / "new" / "file.txt"
    with whole_file(target) as temporary:
        temporary.write_text("old")
    with contextlib.suppress(RuntimeError), whole_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_images_are_loaded_with_their_last_axis_fastest(oblique):
    """Arithmetic on arrays of different order in memory takes ten times as long."""
    data, _ = load(oblique)
    assert data.flags.c_contiguous


@pytest.mark.parametrize("trailing", [(), (1,)])
def test_some_volumes_are_those_of_the_whole_series(tmp_path, trailing):
    """Scaled, also of a series with a fifth axis, of which the last axis was taken for the volumes."""
    values = np.random.default_rng(0).integers(0, 1000, (5, 6, 7, 4, *trailing)).astype(np.int16)
    image = nb.Nifti1Image(values, np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    nb.save(image, tmp_path / "series.nii.gz")
    whole, _ = load(tmp_path / "series.nii.gz")
    np.testing.assert_array_equal(load_volumes(tmp_path / "series.nii.gz", [1, 3]), whole[..., [1, 3]])


def test_load_mask_refuses_another_grid(oblique, tmp_path):
    """A mask that lies elsewhere is named, with the remedy."""
    data, affine = load(oblique)
    affine[0, 3] += 5
    mask = tmp_path / "mask.nii.gz"
    nb.Nifti1Image((data > 100).astype(np.uint8), affine).to_filename(mask)
    assert not same_grid(mask, oblique)
    with pytest.raises(BIDSDataError, match="resample the mask"):
        load_mask(mask, oblique)


def test_itk_transform_survives_writing(tmp_path):
    """What is written is read back exactly, and ANTs reads the same point mapping."""
    ants = pytest.importorskip("ants")
    transform = np.eye(4)
    transform[:3, :3] = nb.eulerangles.euler2mat(0.1, 0.2, -0.3)
    transform[:3, 3] = (3.3, -2.2, 1.1)
    path = write_itk_transform(transform, tmp_path / "xfm.txt")
    np.testing.assert_allclose(read_itk_transform(path), transform, atol=1e-15)
    point = np.array([10.0, 20.0, 30.0])
    expected = transform[:3, :3] @ point + transform[:3, 3]
    to_lps = np.array([-1, -1, 1])
    found = ants.apply_ants_transform_to_point(ants.read_transform(str(path)), to_lps * point)
    np.testing.assert_allclose(to_lps * np.array(found), expected, atol=1e-5)


def test_voxel_sizes_follow_the_array_axes(oblique):
    """Sizes come in the order of the array axes, also for an oblique grid."""
    np.testing.assert_allclose(voxel_sizes_mm(load(oblique)[1]), (0.9, 1.1, 1.3), rtol=1e-6)


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    """Old ones only: a young one may still be written; other hidden files are not ours."""
    anat = tmp_path / "sub-01" / "anat"
    anat.mkdir(parents=True)
    with whole_file(anat / "image.nii.gz") as temporary:
        temporary.touch()
        name = temporary.name
    abandoned, young, foreign = anat / name, anat / name.replace("image", "other"), anat / ".keep_me"
    for path in (abandoned, young, foreign):
        path.touch()
    for path in (abandoned, foreign):
        os.utime(path, (0, 0))
    remove_leftovers(tmp_path)
    assert not abandoned.exists()
    assert young.exists()
    assert foreign.exists()
    remove_leftovers(tmp_path / "absent")
