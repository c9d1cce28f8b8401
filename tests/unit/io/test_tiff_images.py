"""Laws of TIFF files as microscopes write them: packed, in tiles and pyramids, with the size of a pixel."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from n2a_bids.io.micrographs import read_micrograph, write_micrograph
from n2a_bids.io.tiff_images import supply_decoders

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (80, 96), np.uint8)
KINDS = {
    "grey": GREY,
    "rgb": np.stack([GREY, 255 - GREY, GREY // 2], -1),
    "deep": GREY.astype(np.uint16) * 100,
}


def rows_first(image):
    return np.squeeze(np.moveaxis(image.pixels[:, :, 0], 0, 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "compression", ["tiff_lzw", "tiff_adobe_deflate", "zstd", "lzma", "packbits", "jpeg"]
)
def test_packed_files_are_read(compression, kind, tmp_path):
    """As the library reads them that packed them; JPEG, which has 8 bits, in its own colours."""
    if (compression, kind) == ("jpeg", "deep"):
        pytest.skip("JPEG of 16 bits does not exist")
    path = tmp_path / "a.tif"
    Image.fromarray(KINDS[kind]).save(path, compression=compression)
    np.testing.assert_array_equal(rows_first(read_micrograph(path)), np.asarray(Image.open(path)))


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg"])
def test_a_long_strip_is_no_bomb(compression, tmp_path, monkeypatch):
    """Packed in one piece, as many programs write; elsewhere Pillow keeps its own limit."""
    path = tmp_path / "a.tif"
    Image.fromarray(GREY).save(path, compression=compression, strip_size=1_000_000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", GREY.size // 4)
    assert read_micrograph(path).pixels.shape[:2] == GREY.T.shape
    assert GREY.size // 4 == Image.MAX_IMAGE_PIXELS


def test_lzw_of_any_type_in_tiles_with_differences(tmp_path):
    """Colours of 16 bits in tiles, each of which holds differences of neighbours."""
    values = RNG.integers(0, 60_000, (128, 128, 3), np.uint16)
    tiles = []
    for row in (0, 64):
        for column in (0, 64):
            tile = values[row : row + 64, column : column + 64]
            differences = np.diff(tile, axis=1, prepend=np.zeros((64, 1, 3), np.uint16))
            Image.frombytes("L", (differences.nbytes, 1), differences.tobytes()).save(
                tmp_path / "tile.tif", compression="tiff_lzw"
            )
            with tifffile.TiffFile(tmp_path / "tile.tif") as file:
                page = file.pages[0]
                file.filehandle.seek(page.dataoffsets[0])
                tiles.append(file.filehandle.read(page.databytecounts[0]))
    path = tmp_path / "tiled.tif"
    supply_decoders()
    layout = {"shape": values.shape, "dtype": values.dtype, "tile": (64, 64), "photometric": "rgb"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tifffile.TIFF.COMPRESSORS._codecs, 5, bytes)
        patch.setitem(tifffile.TIFF.PREDICTORS._codecs, 2, np.asarray)
        tifffile.imwrite(path, iter(tiles), compression="lzw", predictor=True, **layout)
    np.testing.assert_array_equal(rows_first(read_micrograph(path)), values)


@pytest.mark.parametrize("name", ["pyramid.ome.tif", "pyramid.ome.btf", "pyramid.tif"])
def test_the_finest_image_of_a_pyramid_is_read(name, tmp_path):
    """Of OME, and of pages that say they are reduced; a label of another size is no second image."""
    path, values = tmp_path / name, RNG.integers(0, 255, (256, 256), np.uint8)
    with tifffile.TiffWriter(path, bigtiff="btf" in name, ome=".ome." in name) as file:
        levels = {"subifds": 2} if ".ome." in name else {"metadata": None}
        file.write(values, tile=(64, 64), **levels)
        for step in (2, 4):
            file.write(values[::step, ::step], tile=(64, 64), subfiletype=1, metadata=None)
        if ".ome." not in name:
            file.write(values[:90, :50], subfiletype=1, metadata=None)
    image = read_micrograph(path)
    np.testing.assert_array_equal(rows_first(image), values)
    copy = write_micrograph(tmp_path / f"copy-{name}", image.pixels.astype(np.float32), image)
    assert tifffile.TiffFile(copy).is_bigtiff == ("btf" in name)
    np.testing.assert_array_equal(rows_first(read_micrograph(copy)), values)


@pytest.mark.parametrize("as_float", [False, True])
@pytest.mark.parametrize(
    ("options", "size_nm"),
    [
        ({"imagej": True, "resolution": (250, 200), "metadata": {"unit": "um"}}, (4, 5)),
        ({"imagej": True, "resolution": (0.5, 0.5), "metadata": {"unit": "nm"}}, (2, 2)),
        ({"resolution": (2.5e6, 2e6), "resolutionunit": "CENTIMETER"}, (4, 5)),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({}, None),
    ],
)
def test_the_size_of_a_pixel_is_kept_on_writing(options, size_nm, as_float, tmp_path):
    """In the unit of ImageJ, and in the resolution of plain files; that of printers stays as it is."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, **options)
    image = read_micrograph(path)
    copy = write_micrograph(tmp_path / "b.tif", image.pixels.astype(np.float32), image, as_float=as_float)
    again = read_micrograph(copy)
    for one in (image, again):
        found = one.pixel_size_mm and [1e6 * size for size in one.pixel_size_mm[:2]]
        assert found == (pytest.approx(size_nm) if size_nm else None)
    assert again.is_imagej == image.is_imagej
    if "resolution" in options and size_nm is None:
        assert again.resolution == image.resolution == (72, 72, 2)


def test_what_electron_microscopes_add_tells_the_size(tmp_path):
    """FEI in metres, Zeiss with its unit, with a palette of grey values that is no palette."""
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    fei = b"[Scan]\r\nPixelWidth=4.6e-09\r\nPixelHeight=4.6e-09\r\n\0"
    zeiss = b"AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 4.6 nm\r\n\0"
    for name, tag, text in (("fei.tif", 34682, fei), ("zeiss.tif", 34118, zeiss)):
        extra = [(tag, 2, len(text), text, True)]
        tifffile.imwrite(tmp_path / name, GREY, extratags=extra, photometric="palette", colormap=ramp)
        image = read_micrograph(tmp_path / name)
        assert image.pixel_size_mm[:2] == pytest.approx((4.6e-6, 4.6e-6))
        np.testing.assert_array_equal(rows_first(image), GREY)
        assert read_micrograph(write_micrograph(tmp_path / "o.tif", image.pixels, image)).pixel_size_mm


@pytest.mark.parametrize(("shift", "bits"), [(0, 12), (4, 16)])
def test_saturation_of_a_camera_of_12_bits_is_seen(shift, bits, tmp_path):
    """In the lower or the upper part of 16, though nothing tells it; a largest value by chance is none."""
    counts = np.random.default_rng(1).poisson(3800, (200, 200)) + np.linspace(-500, 500, 200).astype(int)
    stored = (np.clip(counts, 0, 4095) << shift).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored)
    image = read_micrograph(tmp_path / "a.tif")
    assert (image.largest_value, image.bit_depth) == (4095 << shift, bits)
    stored[stored == 4095 << shift] = 4000
    stored[0, 0] = 4095
    tifffile.imwrite(tmp_path / "b.tif", stored)
    assert read_micrograph(tmp_path / "b.tif").largest_value == 65535


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_cut_tiles_are_named(compression, tmp_path):
    """In one line, whatever the parser says."""
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, np.tile(GREY, (4, 4)), tile=(64, 64), compression=compression)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(Exception, match=r"cut\.tif: expected a PNG or TIFF image") as caught:
        read_micrograph(path)
    assert "\n" not in str(caught.value)
