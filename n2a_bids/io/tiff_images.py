"""Reads and writes TIFF files of microscopes (OME, ImageJ, BigTIFF, tiles, pyramids), packed too."""

from __future__ import annotations

import importlib.util
import io
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from tifffile import _imagecodecs as fallback

from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrograph_metadata import (
    find_size,
    imagej_calibration,
    resolution_tags,
    significant_bits,
)
from n2a_bids.io.micrograph_pixels import PAGES, Micrograph, check_axes, columns_first, find_depth

_ASIDE = ("label", "macro", "thumbnail", "overview")
"""Names of the images that slide scanners add."""
_JPEG = (6, 7)
"""Kinds of compression, as TIFF numbers them."""
_CENTIMETRE = 3
"""Unit of a resolution, as TIFF numbers it."""
_Options = dict[str, bool | int | str | tuple[float, float] | dict[str, str | float]]
"""Of tifffile."""
_IMAGEJ_ORDER = "TZCYXS"
_IMAGEJ_TYPES = (np.uint8, np.uint16, np.float32)
_FILE_NAME = re.compile(r'<(?:\w+:)?UUID[^>]*\bFileName="([^"]+)"')
"""Of the files of a set, by an OME header."""
_ORIENTATION = 274
"""TIFF tag: which corner of the picture the first pixel is."""
_LZW, _ZSTD = 5, 50000
_GREY, _RGB = 1, 2
"""Colours, as TIFF numbers them."""


def read_tiff(path: Path) -> Micrograph:
    """Read a TIFF file of any kind: of a pyramid the finest image.

    Raises
    ------
    BIDSDataError
        If the file holds no grey or RGB image, or a series of more than planes and channels.
    Exception
        Whatever the parser stumbles over in files that are damaged.
    """
    supply_decoders()
    with tifffile.TiffFile(path) as file:
        _check_kind(path, file)
        page = file.pages[0]
        series = file.series[0]
        pixels, order = columns_first(path, series.asarray(), series.axes)
        told = significant_bits(file.ome_metadata) or page.bitspersample
        size, by_tags = find_size(file)
        depth, saturated_at = find_depth(pixels, told)
        return Micrograph(
            pixels,
            depth,
            size,
            path,
            order,
            white_is_zero=page.photometric == tifffile.PHOTOMETRIC.MINISWHITE,
            is_imagej=bool(file.is_imagej),
            size_by_tags=by_tags,
            saturated_at=saturated_at,
            resolution=resolution_tags(page),
            orientation=int(page.tags.valueof("Orientation") or 1),
            calibration=imagej_calibration(file),
        )


def check_tiff(path: Path) -> None:
    """Raise what `read_tiff` raises of a file whose header tells it; its pixels are not read."""
    with tifffile.TiffFile(path) as file:
        _check_kind(path, file)
        check_axes(path, file.series[0].shape, file.series[0].axes)


def _check_kind(path: Path, file: tifffile.TiffFile) -> None:
    """Refuse other kinds of pixels than grey values and RGB, and several images, with a `BIDSDataError`."""
    kind = _unusual_kind(file.pages[0])
    if kind:
        raise BIDSDataError(
            f"{path}: expected grey values or RGB, found {kind}, of which noise cannot be told; export "
            "the image as the camera gave it"
        )
    _refuse_missing_planes(path, file)
    n_images = 1 + sum(not _stands_aside(series) for series in file.series[1:])
    if n_images > 1:
        raise BIDSDataError(
            f"{path}: expected one image or a stack of equal planes, found {n_images} images; "
            "export the one that counts"
        )


def _refuse_missing_planes(path: Path, file: tifffile.TiffFile) -> None:
    """Refuse a file of a set whose other files, which hold further planes, are not beside it."""
    named = _FILE_NAME.findall(file.ome_metadata or "")
    n_missing = sum(page is None for page in file.series[0].pages) if named else 0
    if n_missing:
        missing = next((name for name in named if not path.with_name(name).exists()), named[0])
        raise BIDSDataError(
            f"{path}: expected all planes that its OME header tells of, found {n_missing} that stand in "
            f"other files, as {missing}; export the planes into one file"
        )


def count_tiff_values(path: Path) -> int:
    """Values of the finest image, whose pixels are not read."""
    with tifffile.TiffFile(path) as file:
        return int(np.prod(file.series[0].shape))


def _stands_aside(series: tifffile.TiffPageSeries) -> bool:
    """Whether an image is a smaller copy of the first, or the label of a slide."""
    return bool(series.keyframe.is_reduced) or series.name.lower() in _ASIDE


def _unusual_kind(page: tifffile.TiffPage) -> str:
    """What a page holds beside or instead of grey values or RGB; empty where nothing."""
    if page.bitspersample == 1:
        return "1 bit per pixel"
    if set(page.extrasamples) & {tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA}:
        return "transparency"
    kinds = tifffile.PHOTOMETRIC
    if page.photometric == kinds.PALETTE:
        return "" if _is_grey(page.colormap) else "a palette"
    known = (kinds.MINISBLACK, kinds.MINISWHITE, kinds.RGB)
    if page.photometric == kinds.YCBCR and page.compression in _JPEG:
        # Unpacked as RGB.
        return ""
    return "" if page.photometric in known else f"colours of the kind {kinds(page.photometric).name}"


def _is_grey(colours: NDArray[np.integer] | None) -> bool:
    """Whether a palette is no more than the grey values, as some electron microscopes add it."""
    if colours is None or colours.ndim != 2 or len(colours) != 3:
        return False
    grey = np.linspace(0, 1, colours.shape[1])
    return bool(np.abs(colours / max(int(colours.max()), 1) - grey).max() < 1 / colours.shape[1])


def write_tiff(temporary: Path, path: Path, stored: NDArray[np.generic], like: Micrograph) -> None:
    """Write an image with the axes of the file it was made of.

    Metadata are OME where the name promises them, else those of ImageJ where the file had them; the size of
    a pixel is kept in either, and in the resolution of plain files.

    Parameters
    ----------
    temporary : Path
        What is written.
    path : Path
        What it will be called, which says the kind.
    stored : (X, Y, Z, C) array
    like : Micrograph
        What the image was made of.
    """
    array = _in_order(stored, like.axes)
    is_ome = ".ome." in path.name.lower()
    photometric = "miniswhite" if like.white_is_zero else "minisblack"
    if "S" in like.axes and stored.shape[-1] == 3:
        photometric = "rgb"
    planar = (
        {} if "S" not in like.axes else {"planarconfig": "contig" if like.axes[-1] == "S" else "separate"}
    )
    is_large = array.nbytes > 3.9e9 or path.name.lower().endswith((".btf", ".tf8"))
    options: _Options = {"photometric": photometric, **planar}
    if is_ome:
        options |= {"ome": True, "metadata": _ome_fields(array, like)}
    elif like.is_imagej and not is_large and photometric != "miniswhite" and _fits_imagej(array, like.axes):
        options = _imagej_options(like, photometric)
        if np.issubdtype(array.dtype, np.integer):
            options["metadata"] = {**options["metadata"], **like.calibration}
    else:
        options |= {"metadata": {"axes": like.axes}, **_resolution(like)}
    tags = [(_ORIENTATION, "H", 1, like.orientation, True)] if like.orientation != 1 else []
    tifffile.imwrite(temporary, array, bigtiff=is_large, extratags=tags, **options)


def _in_order(stored: NDArray[np.generic], axes: str) -> NDArray[np.generic]:
    sizes = {"X": 0, "Y": 1}
    page = next((axis for axis in axes if axis in PAGES), None)
    channel = next((axis for axis in axes if axis in "SC"), None)
    kept = stored if channel is not None else stored[..., 0]
    if page is None:
        kept = kept[:, :, 0]
    else:
        sizes[page] = 2
    if channel is not None:
        sizes[channel] = kept.ndim - 1
    return np.ascontiguousarray(kept.transpose([sizes[axis] for axis in axes]))


def _ome_fields(array: NDArray[np.generic], like: Micrograph) -> dict[str, str | float]:
    fields: dict[str, str | float] = {"axes": like.axes}
    if like.pixel_size_mm:
        x, y, z = like.pixel_size_mm
        fields |= {"PhysicalSizeX": x * 1e3, "PhysicalSizeXUnit": "µm"}
        fields |= {"PhysicalSizeY": y * 1e3, "PhysicalSizeYUnit": "µm"}
        fields |= {"PhysicalSizeZ": z * 1e3, "PhysicalSizeZUnit": "µm"} if "Z" in like.axes else {}
    if like.is_integer and np.issubdtype(array.dtype, np.integer):
        fields["SignificantBits"] = like.bit_depth
    return fields


def _fits_imagej(array: NDArray[np.generic], axes: str) -> bool:
    """Whether ImageJ knows such an array: its types, its order, colours of 8 bits."""
    known = array.dtype in _IMAGEJ_TYPES and ("S" not in axes or array.dtype == np.uint8)
    return known and axes == "".join(axis for axis in _IMAGEJ_ORDER if axis in axes)


def _imagej_options(like: Micrograph, photometric: str) -> _Options:
    fields: dict[str, str | float] = {"axes": like.axes}
    options: _Options = {"imagej": True, "metadata": fields, "photometric": photometric}
    if like.pixel_size_mm:
        x, y, z = like.pixel_size_mm
        fields |= {"unit": "um"} | ({"spacing": z * 1e3} if "Z" in like.axes else {})
        return options | {"resolution": (1e-3 / x, 1e-3 / y)}
    return options | _resolution(like)


def _resolution(like: Micrograph) -> _Options:
    """The size of a pixel, or the resolution that the file had."""
    if like.pixel_size_mm:
        x, y, _ = like.pixel_size_mm
        return {"resolution": (10 / x, 10 / y), "resolutionunit": _CENTIMETRE}
    if like.resolution:
        return {"resolution": like.resolution[:2], "resolutionunit": like.resolution[2]}
    return {}


def supply_decoders() -> None:
    """Give tifffile the decoders that it lacks without imagecodecs, which it then looks for among its own.

    The library that Pillow brings with it knows them. Everything else (tiles, predictors, types) stays with
    tifffile. Nothing is changed where imagecodecs is installed.
    """
    if importlib.util.find_spec("imagecodecs") is not None:
        return
    fallback.lzw_decode = _decode_lzw
    fallback.jpeg_decode = _decode_jpeg
    if importlib.util.find_spec("compression") is None:
        fallback.zstd_decode = _decode_zstd


def _decode_lzw(data: bytes, /, *, out: int) -> bytes:
    return _unpack(data, _LZW, out)


def _decode_zstd(data: bytes, /, *, out: int) -> bytes:
    return _unpack(data, _ZSTD, out)


def _unpack(data: bytes, compression: int, n_bytes: int) -> bytes:
    """Unpack a strip or tile as the only row of a grey image of 8 bits, of whatever type its values are."""
    tags = [
        *((256, 4, n_bytes), (257, 4, 1), (258, 3, 8), (259, 3, compression), (262, 3, _GREY)),
        *((273, 4, 0), (277, 3, 1), (278, 4, 1), (279, 4, len(data))),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, kind, 1, start if tag == 273 else value) for tag, kind, value in tags
    )
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    with Image.open(io.BytesIO(header + bytes(data))) as image:
        return image.tobytes()


def _decode_jpeg(
    data: bytes,
    /,
    *,
    tables: bytes | None = None,
    colorspace: int | None = None,
    outcolorspace: int | str | None = None,
    bitspersample: int = 8,
    **_rest: Any,
) -> NDArray[np.uint8]:
    """Pixels of a strip or tile of 8 bits; tables that all share stand before it."""
    if bitspersample != 8:
        raise ValueError(f"JPEG of {bitspersample} bits requires the 'imagecodecs' package")
    stream = bytes(data)
    if tables:
        stream = stream[:2] + tables[2:-2] + stream[2:]
    if colorspace == _RGB:
        # What Adobe writes to say that three colours are red, green and blue.
        stream = stream[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + stream[2:]
    with Image.open(io.BytesIO(stream)) as image:
        return np.asarray(image.convert("RGB") if outcolorspace == _RGB else image)
