"""Laws of OME-Zarr: the finest image with its pixel size, back in its version of the format."""

import importlib.util
import json
import shutil

import numpy as np
import pytest

from n2a_bids.denoising.micrographs.exposures import load_exposures
from n2a_bids.denoising.micrographs.frames import sum_frames
from n2a_bids.errors import BIDSDataError
from n2a_bids.io import ome_zarr
from n2a_bids.io.micrographs import read_micrograph, write_micrograph

zarr = pytest.importorskip("zarr", reason="OME-Zarr takes the package zarr")
VALUES = np.random.default_rng(0).integers(0, 200, (2, 3, 96, 80), np.uint16)


def save(path, values=VALUES, zarr_format=2, axes="czyx", unit="nanometer"):
    """As other programs write it: the finest level first, in chunks, with its scale."""
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    scale = [{"z": 40.0, "y": 4.0, "x": 5.0}.get(axis, 1.0) for axis in axes]
    datasets = []
    for number, level in enumerate((values, values[..., ::2, ::2])):
        array = group.create_array(
            str(number), shape=level.shape, chunks=(*(1,) * (level.ndim - 2), 32, 32), dtype=level.dtype
        )
        array[...] = level
        transform = {
            "type": "scale",
            "scale": [one * 2**number if axis in "xy" else one for axis, one in zip(axes, scale)],
        }
        datasets.append({"path": str(number), "coordinateTransformations": [transform]})
    named = [
        {"name": axis, "type": "space", "unit": unit} if axis in "zyx" else {"name": axis} for axis in axes
    ]
    fields = {"multiscales": [{"axes": named, "datasets": datasets}]}
    group.attrs.update({"ome": {"version": "0.5", **fields}} if zarr_format == 3 else fields)
    return path


def test_shards_of_chunks_are_read_whole_or_refused(tmp_path):
    """Several chunks to a file, of which those on the border reach beyond the image."""
    path = save(tmp_path / "a.ome.zarr", VALUES[0, 0], zarr_format=3, axes="yx")
    group = zarr.open_group(str(path))
    finest = group.create_array(
        "0", shape=(96, 80), chunks=(32, 32), shards=(64, 64), dtype=VALUES.dtype, overwrite=True
    )
    finest[...] = VALUES[0, 0]
    np.testing.assert_array_equal(read_micrograph(path).pixels[..., 0, 0].T, VALUES[0, 0])
    (path / "0" / "c" / "1" / "0").unlink()
    image = read_micrograph(path)
    np.testing.assert_array_equal(
        image.not_stored[..., 0, 0].T > 0, (np.arange(96)[:, None] >= 64) & (np.arange(80) < 64)
    )


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_image_comes_back_in_its_version(zarr_format, tmp_path):
    """Both versions of the format, with size, order and type; a result replaces the one of before."""
    image = read_micrograph(save(tmp_path / "a.ome.zarr", zarr_format=zarr_format))
    assert image.pixels.shape == (80, 96, 3, 2)
    assert image.pixel_size_mm == pytest.approx((5e-6, 4e-6, 40e-6))
    for _ in range(2):
        copy = write_micrograph(tmp_path / "b.ome.zarr", image.pixels.astype(np.float32), image)
    again = read_micrograph(copy)
    np.testing.assert_array_equal(again.pixels, image.pixels)
    assert (again.axes, again.zarr_format, again.pixels.dtype) == ("CZYX", zarr_format, np.uint16)
    assert again.pixel_size_mm == pytest.approx(image.pixel_size_mm)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ome.zarr", "b.ome.zarr"]


@pytest.mark.parametrize("axes", ["tyx", "tcyx", "zcyx", "cxyz"])
def test_times_stay_times(axes, tmp_path):
    """Results have the axes of the format, in its order, whatever that of the input; in OME-TIFF, too."""
    values = VALUES[0] if len(axes) == 3 else VALUES
    image = read_micrograph(save(tmp_path / "a.ome.zarr", values, axes=axes))
    write_micrograph(tmp_path / "b.ome.zarr", image.pixels.astype(np.float32), image)
    (multiscales,) = json.loads((tmp_path / "b.ome.zarr" / ".zattrs").read_text())["multiscales"]
    assert [axis["name"] for axis in multiscales["axes"]] == sorted(axes, key="tczyx".index)
    write_micrograph(tmp_path / "b.ome.tif", image.pixels.astype(np.float32), image)
    for name in ("b.ome.zarr", "b.ome.tif"):
        again = read_micrograph(tmp_path / name)
        assert again.axes == image.axes
        np.testing.assert_array_equal(again.pixels, image.pixels)


def test_kinds_of_axes_count_more_than_their_names(tmp_path):
    """Names are free: only what is no space has a kind of its own."""
    path = save(tmp_path / "a.ome.zarr", VALUES[0], axes="cyx")
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0]["axes"][0] = {"name": "channel", "type": "channel"}
    (path / ".zattrs").write_text(json.dumps(attributes))
    assert read_micrograph(path).pixels.shape == (80, 96, 1, 3)


def test_large_images_get_a_pyramid(tmp_path):
    """Levels of half the size each, with twice the size of a pixel, in floating point too."""
    image = read_micrograph(save(tmp_path / "a.ome.zarr", np.tile(VALUES[0, 0], (12, 13)), axes="yx"))
    copy = write_micrograph(tmp_path / "b.ome.zarr", image.pixels.astype(np.float32), image, as_float=True)
    attributes = json.loads((copy / ".zattrs").read_text())["multiscales"][0]
    scales = [one["coordinateTransformations"][0]["scale"] for one in attributes["datasets"]]
    assert scales == [[0.004, 0.005], [0.008, 0.01], [0.016, 0.02]]
    assert zarr.open_array(str(copy / "2")).shape == (288, 260)
    assert read_micrograph(copy).pixels.dtype == np.float32


def test_one_image_of_a_converted_file_is_read(tmp_path):
    """bioformats2raw puts images into numbered groups; times are frames; of two none is taken."""
    root = zarr.open_group(str(tmp_path / "a.ome.zarr"), mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    save(tmp_path / "a.ome.zarr" / "0", VALUES[0], axes="tyx")
    image = read_micrograph(tmp_path / "a.ome.zarr")
    assert (image.axes, image.pixels.shape) == ("TYX", (80, 96, 3, 1))
    assert ome_zarr.count_zarr_pages(tmp_path / "a.ome.zarr") == 3
    save(tmp_path / "a.ome.zarr" / "1", VALUES[0], axes="tyx")
    with pytest.raises(BIDSDataError, match="found 2"):
        read_micrograph(tmp_path / "a.ome.zarr")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_chunks_that_were_not_written_are_empty_and_others_were_lost(zarr_format, tmp_path):
    """Programs leave out chunks of zeros; a chunk is lost where another exposure shows something."""
    rng = np.random.default_rng(1)
    paths = [tmp_path / f"{number}.ome.zarr" for number in range(3)]
    for path in paths:
        values = rng.poisson(20.0, (96, 80)).astype(np.uint16)
        values[32:64, :32] = 0
        save(path, values, zarr_format=zarr_format, axes="yx")
        image = read_micrograph(path)
        np.testing.assert_array_equal(image.pixels[..., 0, 0].T, values)
        np.testing.assert_array_equal(image.not_stored[..., 0, 0].T > 0, values == 0)
    found = load_exposures(paths, aligned=True)
    assert not found.excluded
    assert "1 chunks" in found.notes[2]
    (paths[1] / "0" / ("c/0/0" if zarr_format == 3 else "0.0")).unlink()
    found = load_exposures(paths, aligned=True)
    assert list(found.excluded) == [1]
    assert "2 are not stored, and 1024 pixels of 0.ome.zarr" in found.excluded[1]


def test_a_frame_that_was_not_copied_whole_is_refused(tmp_path):
    """Summed with the others it would be darker in a square."""
    path = save(tmp_path / "a.ome.zarr", VALUES[:, 0] + 1, axes="tyx")
    assert len(sum_frames(read_micrograph(path), 2).groups) == 2
    (path / "0" / "1.0.0").unlink()
    with pytest.raises(BIDSDataError, match="1 are not stored, and 1024 pixels"):
        sum_frames(read_micrograph(path), 2)


def test_what_cannot_be_read_is_named(tmp_path, monkeypatch):
    """No chunk at all, a folder of other things, a file, no package."""
    path = save(tmp_path / "a.ome.zarr", VALUES[0], axes="zyx", zarr_format=3)
    shutil.rmtree(path / "0" / "c")
    with pytest.raises(BIDSDataError, match=r"a.ome.zarr: expected 27 chunks .* found that 27 are missing"):
        read_micrograph(path)
    (path / "zarr.json").write_text("{")
    with pytest.raises(BIDSDataError, match="copy or export it again"):
        read_micrograph(path)
    (tmp_path / "empty.ome.zarr").mkdir()
    with pytest.raises(BIDSDataError, match="copy it whole"):
        read_micrograph(tmp_path / "empty.ome.zarr")
    image = read_micrograph(save(tmp_path / "b.ome.zarr"))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "zarr" else find_spec(name))
    with pytest.raises(BIDSDataError, match=r"pip install 'n2a_bids\[zarr\]'"):
        read_micrograph(tmp_path / "b.ome.zarr")
    with pytest.raises(BIDSDataError, match=r"name it .ome.tif"):
        write_micrograph(tmp_path / "c.ome.zarr", image.pixels.astype(np.float32), image)
