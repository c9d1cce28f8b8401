"""Every kind of bad image is refused with file, expectation, finding and remedy."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from n2a_bids.dataset.read.image_checks import check_image, content_problem, header_problem
from n2a_bids.errors import BIDSDataError

AFFINE = np.diag([2.0, 2, 2, 1])


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 10, (12, 13, 11)).astype("float32")


@pytest.fixture
def save(tmp_path):
    def write(data: np.ndarray, name: str = "sub-01_T1w.nii.gz") -> Path:
        image = nb.Nifti1Image(data, AFFINE)
        image.set_qform(AFFINE, 1)
        image.to_filename(tmp_path / name)
        return tmp_path / name

    return write


def refuses(path: Path, found: str) -> None:
    """One paragraph with the file, what was expected, what was found, and after a semicolon the remedy."""
    with pytest.raises(BIDSDataError) as caught:
        check_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ")
    assert re.search(f"found .*{found}.*; .+", message), message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["sub-01_T1w.nii", "sub-01_T1w.nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", ">i2", "float64"])
def test_good_images_pass(save, volume, name, dtype):
    """Integer and floating point, compressed or not, either byte order."""
    check_image(save(volume.astype(dtype), name))


def test_one_volume_in_four_dimensions_passes(save, volume):
    """Some converters write (X, Y, Z, 1)."""
    check_image(save(volume[..., None]))


def test_4d_is_right_for_dwi_and_wrong_for_t1w(save, volume):
    """The suffix says which one is expected."""
    series = np.stack([volume, volume + 1], axis=-1)
    check_image(save(series, "sub-01_dwi.nii.gz"))
    check_image(save(series[..., None], "sub-01_dwi.nii.gz"))
    refuses(save(series), "2 volumes")
    refuses(save(volume, "sub-02_dwi.nii.gz"), r"the shape \(12, 13, 11\)")
    for name in ("sub-03_dwi.nii.gz", "sub-03_dir-PA_epi.nii.gz"):
        path = save(series[:, :, :, None], name)
        refuses(path, r"the shape \(12, 13, 11, 1, 2\)")
        assert "store all" in header_problem(path), "a listing, which reads headers alone, tells it, too"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_images_without_finite_intensities_are_refused(save, volume, value):
    """Specks and areas are taken for gaps; in 9 of 10 voxels there is nothing to denoise."""
    volume[3, 4, 5] = value
    check_image(save(volume))
    volume[1:] = value
    refuses(save(volume), "NaN or infinite")


@pytest.mark.parametrize(("value", "found"), [(0, "only zeros"), (7, "the value 7 in every voxel")])
def test_constant_images_are_refused(save, volume, value, found):
    """Empty images and images of one value have nothing to denoise."""
    refuses(save(np.full_like(volume, value)), found)


def test_rgb_and_complex_are_refused(save, volume):
    """Intensities must be real numbers."""
    refuses(save(volume.astype("complex64")), "complex64")
    rgb = np.zeros(volume.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    refuses(save(rgb), "RGB colours")


def test_flat_images_are_refused(save, volume):
    """A single slice is no head."""
    refuses(save(volume[:, :, :1]), r"the shape \(12, 13, 1\)")


@pytest.mark.parametrize("value", [np.nan, 0])
def test_a_volume_without_an_image_is_named_with_what_it_holds(save, volume, value):
    """Of a series in which some missing voxels are allowed, as in all diffusion series."""
    series = np.stack([volume, volume + 1, volume], axis=-1).astype(np.float32)
    series[..., 1] = value
    found = content_problem(save(series), most_missing=0.9)
    assert "found one value, or none that is finite, in volume 1 (" in found


@pytest.mark.parametrize("keep", [0.5, 0.95])
def test_truncated_compressed_files_are_refused(save, volume, keep):
    """An interrupted download: the header is fine, the end is missing."""
    path = save(volume)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    refuses(path, "truncated or damaged")


def test_damaged_compressed_files_are_refused(save, volume):
    """Flipped bits are found by the checksum at the end."""
    path = save(volume)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    refuses(path, "truncated or damaged")


def test_truncated_plain_files_are_refused(save, volume):
    """Fewer bytes than the header promises."""
    path = save(volume, "sub-01_T1w.nii")
    path.write_bytes(path.read_bytes()[:-100])
    refuses(path, "25 voxels too early")


def test_files_of_another_kind_are_refused(tmp_path, volume):
    """Zero bytes, text, an uncompressed file named .gz, another image format."""
    path = tmp_path / "sub-01_T1w.nii.gz"
    path.touch()
    refuses(path, "0 bytes")
    path.write_text("this is not an image " * 50)
    refuses(path, "cannot be read")
    nb.Nifti1Image(volume, AFFINE).to_filename(tmp_path / "plain.nii")
    path.write_bytes((tmp_path / "plain.nii").read_bytes())
    refuses(path, "cannot be read")
    path.write_bytes(gzip.compress(b"short"))
    refuses(path, "cannot be read")
    path.write_bytes(gzip.compress(b"x" * 5000)[:12] + bytes(range(255, 0, -1)))
    refuses(path, "cannot be read")
    nb.MGHImage(volume, AFFINE).to_filename(tmp_path / "sub-01_T1w.mgz")
    refuses(tmp_path / "sub-01_T1w.mgz", "MGHImage")


@pytest.mark.parametrize("kind", [nb.Nifti1Image, nb.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_wrong_names_of_compression_are_told(tmp_path, volume, kind, order):
    """The file is sound: a new name is all that it needs."""
    header = kind.header_class(endianness=order)
    image = kind(volume, AFFINE, header)
    plain, compressed = tmp_path / "sub-01_T1w.nii", tmp_path / "sub-02_T1w.nii.gz"
    image.to_filename(plain)
    image.to_filename(compressed)
    refuses(plain.rename(f"{plain}.gz"), "is not a gzip file")
    with pytest.raises(BIDSDataError, match=r"not compressed: name it sub-01_T1w\.nii$"):
        check_image(Path(f"{plain}.gz"))
    with pytest.raises(BIDSDataError, match=r"compressed: name it sub-02_T1w\.nii\.gz$"):
        check_image(compressed.rename(compressed.with_suffix("")))


def test_voxels_within_the_header_are_refused(save, volume):
    """Readers differ in what they make of it: some begin behind the header, some within."""
    path = save(volume, "sub-01_T1w.nii")
    content = bytearray(path.read_bytes())
    content[108:112] = bytes(4)
    path.write_bytes(content)
    refuses(path, r"at byte 0 \(vox_offset\)")


def test_missing_content_is_named_for_what_it_is(tmp_path):
    """DataLad links and pointers, other dangling links, folders, nothing at all."""
    annexed, dangling = tmp_path / "sub-01_T1w.nii.gz", tmp_path / "sub-02_T1w.nii.gz"
    annexed.symlink_to("../.git/annex/objects/xx/yy/MD5E-s1--00.nii.gz")
    with pytest.raises(BIDSDataError, match=r"DataLad \(git-annex\) link.*datalad get"):
        check_image(annexed)
    dangling.symlink_to("elsewhere.nii.gz")
    refuses(dangling, "a link to nothing")
    pointer = tmp_path / "sub-03_T1w.nii.gz"
    pointer.write_text("/annex/objects/MD5E-s1--00.nii.gz\n")
    refuses(pointer, "git-annex pointer")
    refuses(tmp_path, "a folder")
    refuses(tmp_path / "sub-04_T1w.nii.gz", "no such file")


def test_unreadable_files_are_refused(save, volume, monkeypatch):
    """Permission denied, which the superuser who runs the tests in a container never meets."""
    path = save(volume)
    path.chmod(0)
    if os.access(path, os.R_OK):

        def deny(self, *args, **kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", deny)
    refuses(path, "PermissionError: Permission denied")


def test_voxel_sizes_must_be_told(save, volume):
    """nibabel takes zeros for 1 mm; where a sform tells the sizes, nobody needs them."""
    path = save(volume, "sub-01_T1w.nii")
    stored = bytearray(path.read_bytes())
    stored[80:92] = bytes(12)
    for qform_code, sform_code in ((0, 1), (1, 0), (0, 0)):
        stored[252:256] = np.array([qform_code, sform_code], "<i2").tobytes()
        path.write_bytes(stored)
        if not sform_code:
            refuses(path, "0 [(]pixdim[)]")
        else:
            check_image(path)


def test_qform_and_sform_must_agree(save, volume):
    """Apart by less than half a voxel is rounding; farther, tools place the head differently."""
    path = save(volume)
    for shift_mm, passes in ((0.5, True), (3.0, False)):
        image = nb.Nifti1Image(volume, AFFINE)
        image.set_sform(AFFINE, 1)
        moved = AFFINE.copy()
        moved[0, 3] += shift_mm
        image.set_qform(moved, 1)
        image.to_filename(path)
        if passes:
            check_image(path)
        else:
            refuses(path, r"3\.0 mm apart")


def test_an_unused_form_does_not_matter(save, volume):
    """A code of 0 marks a form that nobody reads."""
    path = save(volume)
    image = nb.Nifti1Image(volume, AFFINE)
    image.set_qform(np.diag([1.0, 1, 1, 1]), 0)
    image.to_filename(path)
    check_image(path)


def test_singular_affines_are_refused(save, volume):
    """Voxels without a size cannot be aligned."""
    path = save(volume)
    image = nb.load(path)
    image = nb.Nifti1Image(volume, None, image.header)
    image.header["srow_x"], image.header["sform_code"], image.header["qform_code"] = 0, 1, 0
    image.header["srow_y"], image.header["srow_z"] = [0, 2, 0, 0], [0, 0, 2, 0]
    nb.Nifti1Image(volume, None, image.header).to_filename(path)
    refuses(path, "singular")


@pytest.mark.parametrize(("size_mm", "found"), [(0.001, "0.001 x"), (1000.0, "1e[+]03 x")])
def test_voxels_of_no_scanner_are_refused(save, volume, size_mm, found):
    """A header in metres or micrometres."""
    path = save(volume)
    nb.Nifti1Image(volume, np.diag([size_mm] * 3 + [1])).to_filename(path)
    refuses(path, found)


def test_memory_stays_small(tmp_path):
    """Voxels are read in pieces: an image of 64 MB is checked within 25 MB."""
    import tracemalloc

    data = np.zeros((256, 256, 256), dtype="float32")
    data[100:120] = 1
    image = nb.Nifti1Image(data, AFFINE)
    image.to_filename(tmp_path / "sub-01_T1w.nii")
    del data, image
    tracemalloc.start()
    check_image(tmp_path / "sub-01_T1w.nii")
    peak_mb = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert peak_mb < 25


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("T1w", True),
        ("part-mag_T1w", True),
        ("part-phase_T1w", False),
        ("part-real_T1w", False),
        ("UNIT1", False),
    ],
)
def test_intensities_that_wrapped_are_refused(save, volume, name, refused):
    """What exceeds a signed integer is stored as negative numbers, in phases and ratios of images rightly."""
    stored = (volume * 320).astype(np.int64).astype(np.uint16).view(np.int16)
    assert (stored < 0).any() and (stored > 30000).any()
    path = save(stored, f"sub-01_{name}.nii.gz")
    refuses(path, "opposite ends of its range") if refused else check_image(path)


def test_negative_numbers_that_were_stored_unsigned_are_refused(save, volume):
    """As undershoots of an interpolation; edges that run from zero to the largest number may stay."""
    stored = np.random.default_rng(1).normal(0, 3, volume.shape).round().astype(np.int64)
    stored[3:-3, 3:-3, 3:-3] += 900
    refuses(save(stored.astype(np.uint16)), "what is negative was stored as the largest numbers")
    whole = volume / volume.max() * 65535
    whole[::2] = 0
    check_image(save(whole.astype(np.uint16), "sub-02_T1w.nii.gz"))


def test_bytes_behind_the_end_of_a_compressed_image_are_no_damage(save, volume):
    """As text of a download: the image is whole, as its checksum says."""
    path = save(volume)
    path.write_bytes(path.read_bytes() + b"<html>" * 50)
    check_image(path)
    whole = save(volume, "sub-02_T1w.nii.gz").read_bytes()
    path.write_bytes(whole[:-8] + bytes(4) + whole[-4:])
    refuses(path, "damaged")


@pytest.mark.parametrize(
    ("factor", "way"), [(1e-40, "up"), (1e-18, "up"), (1e-12, ""), (1e12, ""), (1e16, "down")]
)
def test_intensities_that_single_precision_cannot_square_are_refused(save, volume, factor, way):
    """Tiny ones became a constant image, and the message that of a program, not of a file."""
    path = save(volume.astype(np.float64) * factor)
    if way:
        with pytest.raises(BIDSDataError, match=f"at most; scale the image {way}$"):
            check_image(path)
    else:
        check_image(path)


def test_a_volume_that_wrapped_is_refused(save, volume):
    """The b0 of a series is brighter than its other volumes."""
    series = np.stack([volume * 320, volume * 100], axis=-1).astype(np.int64).astype(np.uint16).view(np.int16)
    refuses(save(series, "sub-01_dwi.nii.gz"), "opposite ends of its range")


def test_the_whole_range_of_a_signed_integer_passes(save, volume):
    """Programs that scale an image to all numbers put its air at the lowest one, told by the intercept."""
    image = nb.Nifti1Image(volume, AFFINE)
    image.set_data_dtype(np.int16)
    image.to_filename(path := save(volume).with_name("sub-03_T1w.nii.gz"))
    assert np.asarray(nb.load(path).dataobj.get_unscaled()).min() < -32000
    check_image(path)
