"""Reads and writes micrographs of any format (PNG, TIFF, OME-Zarr) in the same format and depth."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import whole_file
from n2a_bids.io.micrograph_pixels import SUFFIXES, Micrograph, find_saturation, is_micrograph
from n2a_bids.io.ome_zarr import (
    check_ome_zarr,
    count_zarr_values,
    is_zarr,
    read_ome_zarr,
    write_ome_zarr,
)
from n2a_bids.io.tiff_images import check_tiff, count_tiff_values, read_tiff, write_tiff

__all__ = [
    "SUFFIXES",
    "Micrograph",
    "check_header",
    "count_values",
    "is_micrograph",
    "no_png",
    "read_micrograph",
    "write_micrograph",
]

_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    SyntaxError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tifffile.TiffFileError,
    UnidentifiedImageError,
    Image.DecompressionBombError,
)
_OPAQUE = {"L": "L", "I;16": "I;16", "I;16B": "I;16", "I;16L": "I;16", "RGB": "RGB"}


def read_micrograph(path: Path) -> Micrograph:
    """Read a PNG or TIFF file, or an OME-Zarr folder.

    Raises
    ------
    BIDSDataError
        If the file cannot be read whole, holds no grey or RGB image (1 bit, palette, transparency), or is a
        series of more than planes and channels.
    """
    if is_zarr(path):
        return read_ome_zarr(path)
    with _telling_what_cannot_be_read(path), _any_size():
        return _read_png(path) if path.name.lower().endswith(".png") else read_tiff(path)


def check_header(path: Path) -> None:
    """Raise what `read_micrograph` raises of a file whose header tells it; its pixels are not read."""
    if is_zarr(path):
        return check_ome_zarr(path)
    with _telling_what_cannot_be_read(path), _any_size():
        if not path.name.lower().endswith(".png"):
            return check_tiff(path)
        with Image.open(path) as image:
            return _check_png(path, image)


@contextmanager
def _telling_what_cannot_be_read(path: Path) -> Iterator[None]:
    """Turn whatever a parser stumbles over into an error that names the file and the remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise BIDSDataError(
            f"{path}: expected an image, found no such file; correct the path or restore the file"
        ) from error
    except _UNREADABLE as error:
        told = " ".join(str(error).split()) or type(error).__name__
        # Of a kind of compression that takes a package which is not required.
        is_packed = "imagecodecs" in told
        remedy = (
            "install imagecodecs, or save it without compression" if is_packed else "copy or export it again"
        )
        raise BIDSDataError(
            f"{path}: expected a PNG or TIFF image, found none that can be read whole ({told}); {remedy}"
        ) from error


def count_values(path: Path) -> int:
    """Values of an image by its header; 0 for what cannot be read, which is named where it is used."""
    if is_zarr(path):
        return count_zarr_values(path)
    try:
        if not path.name.lower().endswith(".png"):
            return count_tiff_values(path)
        with _any_size(), Image.open(path) as image:
            return image.width * image.height * len(image.getbands())
    except _UNREADABLE:
        return 0


@contextmanager
def _any_size() -> Iterator[None]:
    """Let Pillow read large images, and unpack long strips of TIFF: memory is asked for before, of all."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def write_micrograph(
    path: Path, pixels: NDArray[np.floating], like: Micrograph, *, as_float: bool = False
) -> Path:
    """Write an image in the format, type and axes of another: rounded once, clipped and never wrapped.

    Parameters
    ----------
    path : Path
        Its ending says PNG, TIFF or OME-Zarr.
    pixels : (X, Y, Z, C) float array
    like : Micrograph
        What the image was made of.
    as_float : bool
        Write single precision, unrounded; into TIFF only.

    Raises
    ------
    BIDSDataError
        If PNG was asked to hold what it cannot: floating-point values, several planes, some types.
    """
    floating = as_float or not like.is_integer
    is_png = path.name.lower().endswith(".png")
    if is_png:
        problem = no_png(pixels.shape, like, as_float=as_float)
        if problem:
            raise BIDSDataError(f"{path}: {problem}")
    stored = pixels.astype(np.float32) if floating else _rounded(pixels, like)
    if like.white_is_zero and not floating and (is_png or is_zarr(path)):
        # Only TIFF can say that the smallest value is shown as white.
        stored = np.iinfo(stored.dtype).max - stored
    if is_zarr(path):
        return write_ome_zarr(path, stored, like)
    with whole_file(path) as temporary:
        if is_png:
            image = np.moveaxis(stored[:, :, 0], 0, 1)
            Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image)).save(
                temporary, format="PNG"
            )
        else:
            write_tiff(temporary, path, stored, like)
    return path


def no_png(shape: tuple[int, ...], like: Micrograph, *, as_float: bool = False) -> str:
    """Why an (X, Y, Z, C) image like another cannot be written as PNG, and the remedy; empty where it can."""
    kind = like.pixels.dtype
    found = ""
    if as_float or not like.is_integer:
        found = "floating-point values"
    elif shape[2] > 1:
        found = f"{shape[2]} planes"
    elif (kind, shape[3]) not in ((np.uint8, 1), (np.uint8, 3), (np.uint16, 1)):
        found = f"{shape[3]} channels of {kind}"
    if not found:
        return ""
    return (
        "expected one plane of whole numbers, grey of 8 or 16 bits or RGB of 8, which is what PNG holds, "
        f"found {found}; name it .tif"
    )


def _rounded(pixels: NDArray[np.floating], like: Micrograph) -> NDArray[np.generic]:
    kind = np.iinfo(like.pixels.dtype)
    largest = min(2**like.bit_depth - 1, kind.max)
    rounded = np.maximum(np.rint(pixels), kind.min)
    # Set as whole numbers: in single precision the largest of 32 bits is rounded up, and would wrap.
    above = rounded >= largest
    rounded[above] = 0
    stored = rounded.astype(like.pixels.dtype)
    stored[above] = largest
    return stored


def _read_png(path: Path) -> Micrograph:
    with Image.open(path) as image:
        _check_png(path, image)
        image.load()
        pixels = np.asarray(image)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    columns_first = np.moveaxis(np.atleast_3d(pixels), 0, 1)[:, :, None]
    saturated_at = find_saturation(pixels)
    return Micrograph(
        columns_first,
        saturated_at.bit_length() if saturated_at else 8 * pixels.dtype.itemsize,
        None,
        path,
        "YXS" if pixels.ndim == 3 else "YX",
        saturated_at=saturated_at,
    )


def _check_png(path: Path, image: Image.Image) -> None:
    if image.format != "PNG":
        raise BIDSDataError(f"{path}: expected a PNG image, found {image.format}; name it by what it is")
    if image.mode not in _OPAQUE:
        kinds = {"1": "1 bit per pixel", "P": "a palette", "LA": "transparency", "RGBA": "transparency"}
        raise BIDSDataError(
            f"{path}: expected grey values or RGB, found {kinds.get(image.mode, f'mode {image.mode}')}, "
            "of which noise cannot be told; export the image as the camera gave it"
        )
    # Pillow would give 8 bits of each.
    if image.mode == "RGB" and any("16" in str(raw_mode) for _, _, _, raw_mode in image.tile):
        raise BIDSDataError(f"{path}: RGB of 16 bits is read from TIFF only; export it as TIFF")
