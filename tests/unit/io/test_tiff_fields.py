"""Laws of what TIFF files tell of their values: sets of files, white, calibration, orientation, units."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from n2a_bids.denoising.micrographs.exposures import load_exposures
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrographs import check_header, read_micrograph, write_micrograph

GREY = np.random.default_rng(0).integers(5, 250, (40, 56), np.uint8)
OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">
<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="56" SizeY="40" SizeC="1"
 SizeZ="3" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>"""
PLANE = (
    '<TiffData FirstC="0" FirstZ="{0}" FirstT="0" IFD="0" PlaneCount="1">'
    '<UUID FileName="stack_Z{0}.ome.tif">urn:uuid:{0}</UUID></TiffData>'
)


def written_again(path, like=None):
    image = read_micrograph(path)
    out = path.with_name("out" + path.name)
    return write_micrograph(out, image.pixels.astype(np.float32), like or image)


def set_of_planes(folder, which):
    for number in which:
        header = OME.format(own=number, planes="".join(PLANE.format(one) for one in range(3)))
        tifffile.imwrite(
            folder / f"stack_Z{number}.ome.tif", GREY + np.uint8(number), description=header, metadata=None
        )
    return folder / "stack_Z0.ome.tif"


def test_planes_in_files_that_are_not_there_are_refused(tmp_path):
    """They were zeros; also by the header alone. With the others beside it, a file is the whole stack."""
    path = set_of_planes(tmp_path, [0, 2])
    for read in (read_micrograph, check_header):
        with pytest.raises(BIDSDataError, match=r"found 1 that stand in other files, as stack_Z1\.ome\.tif"):
            read(path)
    set_of_planes(tmp_path, [1])
    assert read_micrograph(path).pixels[0, 0, :, 0].tolist() == [int(GREY[0, 0]) + one for one in range(3)]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_png_shows_what_a_file_with_white_as_zero_shows(kind, tmp_path):
    """It cannot say that zero is white."""
    path, out = tmp_path / "a.tif", tmp_path / "a.png"
    tifffile.imwrite(path, GREY.astype(kind), photometric="miniswhite")
    image = read_micrograph(path)
    write_micrograph(out, image.pixels.astype(np.float32), image)
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.iinfo(kind).max - GREY.astype(kind))


def test_white_as_zero_beside_black_as_zero_is_refused(tmp_path):
    """Their mean would be of a picture and its negative."""
    for index, kind in enumerate(("miniswhite", "minisblack")):
        tifffile.imwrite(tmp_path / f"{index}.tif", GREY, photometric=kind)
    with pytest.raises(BIDSDataError, match="the smallest shown as white"):
        load_exposures([tmp_path / "0.tif", tmp_path / "1.tif"])


def test_signed_numbers_of_imagej_stay_so(tmp_path):
    """ImageJ stores them from 32768 on, and tells that by a calibration."""
    path = tmp_path / "a.tif"
    told = "ImageJ=1.53t\nunit=nm\ncf=0\nc0=-32768.0\nc1=1.0\nvunit=Gray Value\n"
    tifffile.imwrite(path, GREY.astype(np.uint16) + 32700, description=told, metadata=None, resolution=(1, 1))
    with tifffile.TiffFile(written_again(path)) as file:
        assert file.is_imagej
        found = file.imagej_metadata
    assert (found["cf"], found["c0"], found["c1"], found["vunit"]) == (0, -32768, 1, "Gray Value")


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "imagej.tif"])
def test_orientation_stays(name, tmp_path):
    """Programs that heed it show the result as they show the exposures."""
    path = tmp_path / name
    tifffile.imwrite(
        path,
        GREY,
        imagej=name == "imagej.tif",
        extratags=[(274, "H", 1, 6, True)],
    )
    with tifffile.TiffFile(written_again(path)) as file:
        assert file.pages[0].tags.valueof("Orientation") == 6


@pytest.mark.parametrize(
    ("unit", "mm"),
    [
        ("angstrom", 1e-7),
        ("nanometer", 1e-6),
        ("nanometers", 1e-6),
        ("micrometre", 1e-3),
        ("Micrometers", 1e-3),
    ],
)
def test_units_of_imagej_are_known_in_words(unit, mm, tmp_path):
    """As its dialog offers, or people type them."""
    tifffile.imwrite(tmp_path / "a.tif", GREY, imagej=True, resolution=(0.4, 0.4), metadata={"unit": unit})
    assert read_micrograph(tmp_path / "a.tif").pixel_size_mm[:2] == pytest.approx((2.5 * mm, 2.5 * mm))
