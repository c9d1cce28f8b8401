"""Which micrographs are exposures of one field of view, and what size their pixels have."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from n2a_bids.config import SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.dataset.grouping.micr import group_micr
from n2a_bids.dataset.memory_limit import leave_out_too_large
from n2a_bids.dataset.names import parse_name
from n2a_bids.dataset.read.micrographs import list_micrographs, pixel_size_mm
from n2a_bids.dataset.units import ImageFile
from n2a_bids.errors import BIDSDataError


def files(*names):
    paths = [Path(f"sub-01/micr/sub-01_{name}") for name in names]
    return [ImageFile(path, parse_name(path)[0]) for path in paths]


def test_exposures_differ_in_run_alone():
    """Chunks, samples, stains, acquisitions and suffixes are other images; run-1 and run-01 are one."""
    names = ["sample-A_run-1_TEM.tif", "sample-A_run-02_TEM.tif", "sample-B_run-1_TEM.tif"]
    names += [
        "sample-A_run-1_chunk-2_TEM.tif",
        "sample-A_stain-x_run-1_TEM.tif",
        "sample-A_acq-y_run-2_TEM.tif",
    ]
    names += ["sample-A_run-1_SEM.png", "sample-A_run-01_TEM.png"]
    found = group_micr(files(*names))
    (unit,) = found.units
    assert {int(image.entities["run"]) for image in unit.images} == {1, 2}
    assert (unit.label, unit.suffix, unit.datatype) == ("sub-01_sample-A_TEM", "TEM", "micr")
    assert len(unit.images) == 2
    assert len(found.excluded) == len(names) - 2
    assert sum("its name means the same as that of" in item.reason for item in found.excluded) == 1


def test_frames_and_exposures_do_not_get_one_name(tmp_path):
    """A movie without run- beside exposures: one result would replace the other in the output."""
    for name, n_pages in (("", 5), ("run-1_", 1), ("run-2_", 1)):
        path = tmp_path / f"sub-1_sample-A_{name}TEM.tif"
        tifffile.imwrite(path, np.zeros((n_pages, 16, 16), np.uint8), photometric="minisblack")
    paths = sorted(tmp_path.glob("*.tif"))
    found = group_micr([ImageFile(path, parse_name(path)[0]) for path in paths], 2)
    assert [unit.kind for unit in found.units] == ["micr-repeats"]
    assert "give it a run- of its own" in found.excluded[0].reason


@pytest.mark.parametrize("changed", [0, 1])
def test_a_name_that_means_the_same_is_a_copy_only_with_the_same_pixels(tmp_path, changed):
    """A file of another format is the same image; one with another pixel is not, and is not called so."""
    pixels = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    paths = [tmp_path / f"sub-1_sample-A_run-{run}_TEM{end}" for run, end in ((1, ".tif"), (2, ".tif"))]
    paths.append(tmp_path / "sub-1_sample-A_run-01_TEM.png")
    for path in paths[:2]:
        tifffile.imwrite(path, pixels)
    other = pixels.copy()
    other[5, 7] += changed
    Image.fromarray(other).save(paths[2])
    (reason,) = (item.reason for item in group_micr([ImageFile(p, parse_name(p)[0]) for p in paths]).excluded)
    assert ("another image than" in reason) == bool(changed)
    assert ("the same image as" in reason) == (not changed)


def test_a_list_refuses_what_a_run_would(tmp_path):
    """Times of planes are no exposure: the others are listed without them, with the reason."""
    folder = tmp_path / "sub-1" / "micr"
    folder.mkdir(parents=True)
    (tmp_path / "dataset_description.json").write_text('{"Name": "a", "BIDSVersion": "1.9.0"}')
    pixels = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)
    for run in (1, 2):
        tifffile.imwrite(folder / f"sub-1_sample-a_run-{run}_TEM.ome.tif", pixels + np.uint8(run))
    odd = folder / "sub-1_sample-a_run-3_TEM.ome.tif"
    tifffile.imwrite(odd, np.zeros((2, 3, 32, 32), np.uint8), metadata={"axes": "TZYX"})
    found = collect(tmp_path, SelectionConfig())
    assert [len(unit.images) for unit in found.units] == [2]
    (left_out,) = found.excluded
    assert left_out.path == odd
    assert "axes TZYX" in left_out.reason


def test_every_suffix_and_ending_of_bids_is_found(tmp_path):
    """Whatever the microscope; sidecars and masks are no images."""
    names = [f"sub-1_sample-a_{suffix}.tif" for suffix in ("TEM", "2PE", "uCT", "XPCT")]
    names += [f"sub-1_sample-a_BF{end}" for end in (".png", ".ome.tif", ".ome.btf", ".ome.zarr")]
    for name in (*names, "sub-1_sample-a_BF.json", "sub-1_sample-a_mask.tif"):
        (tmp_path / name).touch()
    assert [path.name for path in list_micrographs([tmp_path])] == sorted(names)


def test_a_file_of_one_page_is_not_told_to_use_the_option_that_is_in_use(tmp_path):
    """Its pages are no frames: --micr-frames is a hint only for pages, and where it was not given."""
    path = tmp_path / "sub-1_sample-a_TEM.ome.tif"
    tifffile.imwrite(
        path, np.zeros((3, 64, 64), np.uint8), metadata={"axes": "CYX"}, photometric="minisblack"
    )
    image = ImageFile(path, parse_name(path)[0])
    (without,), (within,) = (group_micr([image], groups).excluded for groups in (None, 2))
    assert "--micr-frames" not in without.reason
    assert "one page (channels are none)" in within.reason
    assert "uses them" not in within.reason
    tifffile.imwrite(path, np.zeros((4, 64, 64), np.uint8), metadata={"axes": "ZYX"})
    (movie,) = group_micr([image], None).excluded
    assert "if its 4 pages are frames, --micr-frames 2 uses them" in movie.reason


def test_an_exposure_of_another_format_is_named(make_bids):
    """Where its partner says "one exposure, nothing to average", the owner would look for it in vain."""
    names = [f"sub-1/micr/sub-1_sample-a_run-{run}_TEM{end}" for run, end in ((1, ".png"), (2, ".JPG"))]
    copies = ["sub-1/micr/sub-1_sample-a_run-1_TEM.mrc", "sub-1/micr/sub-1_sample-a_photo.jpg"]
    found = collect(make_bids(dict.fromkeys([*names, *copies])), SelectionConfig())
    told = {item.path.name: item for item in found.excluded}
    assert set(told) == {Path(name).name for name in names}
    reason = told[Path(names[1]).name]
    assert "format that BIDS does not have: save it as TIFF or PNG" in reason.reason and not reason.is_error


def test_frames_take_no_more_memory_than_their_sums(tmp_path):
    """Of 40 frames two sums are denoised: 4 bytes of each frame, and two exposures with their results."""
    path, least_gb = tmp_path / "sub-1_sample-a_TEM.tif", (40 * 4 + 2 * 10 + 28) * 64**2 / 1024**3
    tifffile.imwrite(path, np.zeros((40, 64, 64), np.uint8), photometric="minisblack")
    image = ImageFile(path, parse_name(path)[0])
    found = group_micr([image], 2)
    selection = SelectionConfig(micr_frames=2)
    assert leave_out_too_large(found, selection, 1.01 * least_gb) == found
    (refused,) = leave_out_too_large(found, selection, 0.99 * least_gb).excluded
    assert "expected an image that fit" in refused.reason


def test_pixel_size_of_sidecar_and_file_must_agree():
    """Units are turned to mm; 2 % of difference is a contradiction, and so is a size without a unit."""
    path, said = Path("a_TEM.tif"), {"PixelSize": [4.6, 4.6], "PixelSizeUnits": "nm"}
    assert pixel_size_mm(path, said, None) == pytest.approx((4.6e-6, 4.6e-6, 1.0))
    assert pixel_size_mm(path, {}, (1e-3, 1e-3, 1.0)) == (1e-3, 1e-3, 1.0)
    assert pixel_size_mm(path, {}, None) is None
    with pytest.raises(BIDSDataError, match=r"expected one pixel size, found 4\.6 x 4\.6 nm"):
        pixel_size_mm(path, said, (4.7e-6, 4.7e-6, 1.0))
    for broken in (
        {"PixelSize": [4.6, 4.6]},
        {"PixelSize": [0, 1], "PixelSizeUnits": "nm"},
        {"PixelSize": "4"},
    ):
        with pytest.raises(BIDSDataError, match="PixelSizeUnits"):
            pixel_size_mm(path, broken, None)


def test_an_empty_exposure_does_not_stand_for_a_sound_one(tmp_path):
    """Of two names that mean the same, the file with content is taken."""
    paths = [tmp_path / f"sub-01_sample-A_run-{run}_TEM.tif" for run in ("01", "1", "2")]
    for path in paths:
        path.write_bytes(b"II*" * (path is not paths[0]))
    found = group_micr(
        [ImageFile(path, {"sub": "01", "sample": "A", "run": path.name[20:-8]}) for path in paths]
    )
    assert [image.path for image in found.units[0].images] == paths[1:]
    assert "holds nothing that could be compared" in found.excluded[0].reason
