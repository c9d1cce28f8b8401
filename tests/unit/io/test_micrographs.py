"""Laws of micrograph files: what goes in comes back, rounded once and never wrapped; bad files are named."""

import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrographs import check_header, read_micrograph, write_micrograph

RNG = np.random.default_rng(0)
STORED = {
    "grey.png": ((20, 30), np.uint8, {}),
    "deep.png": ((20, 30), np.uint16, {}),
    "rgb.png": ((20, 30, 3), np.uint8, {}),
    "grey.tif": ((20, 30), np.uint16, {}),
    "signed.tif": ((20, 30), np.int16, {}),
    "float.tif": ((20, 30), np.float32, {}),
    "rgb.tif": ((20, 30, 3), np.uint8, {"photometric": "rgb"}),
    "stack.tif": ((5, 20, 30), np.uint8, {"photometric": "minisblack"}),
    "big.btf": ((5, 20, 30), np.uint16, {"photometric": "minisblack", "bigtiff": True}),
    "channels.ome.tif": (
        (4, 2, 20, 30),
        np.uint16,
        {"photometric": "minisblack", "metadata": {"axes": "ZCYX"}},
    ),
    "planar.tif": ((3, 20, 30), np.uint8, {"photometric": "rgb", "planarconfig": "separate"}),
    "white-is-zero.tif": ((20, 30), np.uint16, {"photometric": "miniswhite"}),
    "zipped.tif": ((200, 30), np.uint16, {"compression": "zlib", "rowsperstrip": 16}),
    "planes.ome.tif": (
        (2, 4, 20, 30),
        np.uint16,
        {"photometric": "minisblack", "metadata": {"axes": "CZYX"}},
    ),
}


def save(folder, name):
    shape, kind, options = STORED[name]
    values = (RNG.random(shape) * 200).astype(kind)
    path = folder / name
    if name.endswith(".png"):
        Image.fromarray(values).save(path)
    else:
        tifffile.imwrite(path, values, **options)
    return path, values


@pytest.mark.parametrize("name", STORED)
def test_files_come_back_as_they_were(name, tmp_path):
    """Columns first inside, the same array, axes and type in the new file."""
    path, values = save(tmp_path, name)
    image = read_micrograph(path)
    assert image.pixels.shape[:2] == (30, 200 if "zipped" in name else 20)
    assert image.pixels[3, 7].ravel()[0] == values[..., 7, 3, :].ravel()[0] if "rgb" in name else True
    copy = write_micrograph(tmp_path / f"copy-{name}", image.pixels.astype(np.float32), image)
    again = read_micrograph(copy)
    np.testing.assert_array_equal(again.pixels, image.pixels)
    assert again.pixels.dtype == values.dtype
    if not name.endswith(".png"):
        np.testing.assert_array_equal(np.squeeze(tifffile.imread(copy)), values)
        looks = [tifffile.TiffFile(one).pages[0].photometric for one in (path, copy)]
        assert looks[0] == looks[1]


def test_colours_of_a_png_have_the_bits_that_it_says(tmp_path):
    """Any size with 16 in it, as 1600 x 1200, was taken for 16 bits of each colour, and refused."""
    values = np.random.default_rng(0).integers(0, 255, (16, 160, 3), np.uint8)
    path = tmp_path / "colours.png"
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(read_micrograph(path).pixels[:, :, 0], values.swapaxes(0, 1))
    content = bytearray(path.read_bytes())
    content[24] = 16  # bits of each colour, in the header, with its checksum
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(BIDSDataError, match="RGB of 16 bits"):
        read_micrograph(path)


def test_values_are_rounded_once_and_clipped(tmp_path):
    """In 12 of 16 bits nothing goes above 4095, and nothing wraps."""
    path = tmp_path / "deep.ome.tif"
    values = np.full((16, 16), 4000, np.uint16)
    tifffile.imwrite(path, values, metadata={"axes": "YX", "SignificantBits": 12})
    image = read_micrograph(path)
    assert image.bit_depth == 12
    pixels = np.full((16, 16, 1, 1), 70_000.0)
    pixels[0, 0], pixels[1, 0], pixels[2, 0] = -5, 10.5001, 11.4999
    again = read_micrograph(write_micrograph(tmp_path / "out.ome.tif", pixels, image)).pixels[..., 0, 0]
    assert again[:4, 0].tolist() == [0, 11, 11, 4095]
    floating = write_micrograph(tmp_path / "float.tif", pixels, image, as_float=True)
    assert read_micrograph(floating).pixels.max() == 70_000


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_the_largest_value_of_a_type_never_wraps(kind, tmp_path):
    """Single precision rounds that of 32 bits up."""
    ends = np.iinfo(kind)
    tifffile.imwrite(tmp_path / "a.tif", np.full((16, 16), ends.max, kind))
    image = read_micrograph(tmp_path / "a.tif")
    pixels = image.pixels.astype(np.float32)
    pixels[0], pixels[1], pixels[2] = 1e12, -1e12, 3.4
    again = read_micrograph(write_micrograph(tmp_path / "b.tif", pixels, image)).pixels[:, 0, 0, 0]
    assert again[:4].tolist() == [ends.max, ends.min, 3, ends.max]


@pytest.mark.parametrize("name", ["size.ome.tif", "imagej.tif"])
def test_pixel_sizes_are_read_in_mm(name, tmp_path):
    """Of OME and of ImageJ; resolution tags alone tell nothing."""
    path, values = tmp_path / name, np.zeros((3, 16, 16), np.uint16)
    if name.startswith("size"):
        sizes = {
            "PhysicalSizeX": 4.6,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 4.6,
            "PhysicalSizeYUnit": "nm",
        }
        tifffile.imwrite(path, values, metadata={"axes": "ZYX", **sizes})
        assert read_micrograph(path).pixel_size_mm == pytest.approx((4.6e-6, 4.6e-6, 1))
    else:
        metadata = {"axes": "ZYX", "unit": "um", "spacing": 2.0}
        tifffile.imwrite(path, values, imagej=True, resolution=(4.0, 4.0), metadata=metadata)
        assert read_micrograph(path).pixel_size_mm == pytest.approx((0.25e-3, 0.25e-3, 2e-3))
    plain = tmp_path / "plain.tif"
    tifffile.imwrite(plain, values[0], resolution=(72, 72))
    assert read_micrograph(plain).pixel_size_mm is None


def _refused_by(read, path):
    with pytest.raises(BIDSDataError) as raised:
        read(path)
    return str(raised.value)


def test_headers_tell_what_reading_would(tmp_path):
    """A list of a dataset refuses, without the pixels, what a run refuses, in the same words."""
    grey = Image.fromarray(np.zeros((16, 16), np.uint8))
    for mode, end in (("1", ".png"), ("RGBA", ".png"), ("RGBA", ".tif"), ("CMYK", ".tif")):
        grey.convert(mode).save(tmp_path / f"{mode}{end}")
    series = np.zeros((2, 3, 16, 16), np.uint8)
    tifffile.imwrite(tmp_path / "times.ome.tif", series, metadata={"axes": "TZYX"})
    for name in ("away.png", "away.tif"):
        with pytest.raises(BIDSDataError, match=f"{name}: expected an image, found no such file; correct"):
            read_micrograph(tmp_path / name)
    (tmp_path / "text.tif").write_text("no image")
    (tmp_path / "text.png").write_text("no image")
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 7
    for path in paths:
        assert _refused_by(check_header, path) == _refused_by(read_micrograph, path)
    path, _ = save(tmp_path, "stack.tif")
    check_header(path)


def test_bad_files_are_named(tmp_path):
    """One bit, palette, transparency, a truncated file, text, positions."""
    grey = Image.fromarray((RNG.random((64, 64)) * 255).astype(np.uint8))
    for mode, word in (("1", "1 bit"), ("P", "palette"), ("RGBA", "transparency")):
        odd = grey.convert(mode)
        if mode == "P":
            odd.putpalette(RNG.integers(0, 255, 768).tolist())
        odd.save(tmp_path / f"{mode}.png")
        with pytest.raises(BIDSDataError, match=word):
            read_micrograph(tmp_path / f"{mode}.png")
        if mode != "1":
            odd.save(tmp_path / f"{mode}.tif")
            with pytest.raises(BIDSDataError, match=word):
                read_micrograph(tmp_path / f"{mode}.tif")
    grey.convert("CMYK").save(tmp_path / "print.tif")
    with pytest.raises(BIDSDataError, match="SEPARATED"):
        read_micrograph(tmp_path / "print.tif")
    packed = {"compression": "lerc", "shape": (16, 16), "dtype": np.uint16, "rowsperstrip": 16}
    with pytest.MonkeyPatch.context() as patch:
        # What nothing here packs is written as if it were.
        patch.setitem(tifffile.TIFF.COMPRESSORS._codecs, 34887, bytes)
        tifffile.imwrite(tmp_path / "lerc.tif", iter([bytes(99)]), **packed)
    with pytest.raises(BIDSDataError, match=r"lerc.tif: .* (install imagecodecs|copy or export)"):
        read_micrograph(tmp_path / "lerc.tif")
    for name in ("deep.png", "stack.tif", "zipped.tif"):
        path, _ = save(tmp_path, name)
        path.write_bytes(path.read_bytes()[:300])
        with pytest.raises(BIDSDataError, match=name):
            read_micrograph(path)
    for name in ("away.png", "away.tif"):
        with pytest.raises(BIDSDataError, match=f"{name}: expected an image, found no such file; correct"):
            read_micrograph(tmp_path / name)
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(BIDSDataError, match="expected a PNG or TIFF"):
        read_micrograph(tmp_path / "text.tif")
    tifffile.imwrite(
        tmp_path / "times.ome.tif", np.zeros((2, 3, 16, 16), np.uint8), metadata={"axes": "TZYX"}
    )
    with pytest.raises(BIDSDataError, match="axes"):
        read_micrograph(tmp_path / "times.ome.tif")
    with tifffile.TiffWriter(tmp_path / "positions.ome.tif", ome=True) as file:
        for value in range(2):
            file.write(np.full((16, 16), value, np.uint8), metadata={"axes": "YX"})
    with pytest.raises(BIDSDataError, match="2 images"):
        read_micrograph(tmp_path / "positions.ome.tif")


def test_png_refuses_what_it_cannot_hold(tmp_path):
    """Floating point and planes, types and numbers of channels."""
    path, _ = save(tmp_path, "stack.tif")
    image = read_micrograph(path)
    with pytest.raises(BIDSDataError, match="5 planes"):
        write_micrograph(tmp_path / "out.png", image.pixels.astype(np.float32), image)
    assert not (tmp_path / "out.png").exists()
    for shape, kind, options in (
        ((16, 16, 3), np.uint16, {"photometric": "rgb"}),
        ((16, 16), np.int16, {}),
        ((2, 16, 16), np.uint8, {"metadata": {"axes": "CYX"}}),
    ):
        tifffile.imwrite(tmp_path / "in.ome.tif", np.zeros(shape, kind), **options)
        image = read_micrograph(tmp_path / "in.ome.tif")
        with pytest.raises(BIDSDataError, match="which is what PNG holds"):
            write_micrograph(tmp_path / "out.png", image.pixels.astype(np.float32), image)
