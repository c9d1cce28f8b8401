"""Micrographs: PNG and TIFF files (OME and ImageJ, too) as arrays, and back in the same format and depth."""

from __future__ import annotations

import lzma
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import whole_file
from n2a_bids.io.micrograph_metadata import pixel_size_mm, significant_bits

SUFFIXES = (".png", ".tif", ".tiff", ".btf")
"""Endings of the files that are read, in lower case; ``.ome.tif`` and ``.ome.btf`` end so, too."""

_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    SyntaxError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tifffile.TiffFileError,
    UnidentifiedImageError,
    Image.DecompressionBombError,
)
_PAGES = "ZTIQ"
"""Axes of TIFF series that count planes."""
_OPAQUE = {"L": "L", "I;16": "I;16", "I;16B": "I;16", "I;16L": "I;16", "RGB": "RGB"}


@dataclass(frozen=True, slots=True)
class Micrograph:
    """One file of a microscope."""

    pixels: NDArray[np.generic]
    """(X, Y, Z, C): columns, rows, pages and channels, in the type they are stored in."""
    bit_depth: int
    """Bits that the values use: 12 in 16 where metadata say so, else those of the type."""
    pixel_size_mm: tuple[float, float, float] | None
    """Of columns, rows and planes (1 where their spacing is not told); None where nothing tells it."""
    path: Path
    axes: str = "YX"
    """Of the array in the file, slowest first, in the letters of TIFF: S and C are channels."""
    white_is_zero: bool = False
    """Whether the file shows the smallest value as white."""

    @property
    def is_integer(self) -> bool:
        """Whether values are whole numbers, with a largest one at which pixels are saturated."""
        return np.issubdtype(self.pixels.dtype, np.integer)

    @property
    def largest_value(self) -> float:
        """Of the depth; infinite for floating-point images."""
        if not self.is_integer:
            return np.inf
        return float(min(2**self.bit_depth - 1, np.iinfo(self.pixels.dtype).max))


def is_micrograph(path: Path) -> bool:
    """Whether a file is named as one that `read_micrograph` reads."""
    return path.name.lower().endswith(SUFFIXES)


def read_micrograph(path: Path) -> Micrograph:
    """Read a PNG or TIFF file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    micrograph : Micrograph

    Raises
    ------
    BIDSDataError
        If the file cannot be read whole, holds no grey or RGB image (1 bit, palette, transparency), or is a
        series of more than planes and channels.
    """
    try:
        if path.name.lower().endswith(".png"):
            return _read_png(path)
        return _read_tiff(path)
    except _UNREADABLE as error:
        # Of a kind of compression that takes a package which is not required.
        is_packed = "imagecodecs" in str(error)
        remedy = "save it without compression" if is_packed else "copy or export it again"
        raise BIDSDataError(
            f"{path}: expected a PNG or TIFF image, found none that can be read whole ({error}); {remedy}"
        ) from error


def write_micrograph(
    path: Path, pixels: NDArray[np.floating], like: Micrograph, *, as_float: bool = False
) -> Path:
    """Write an image in the format, type and axes of another: rounded once, clipped and never wrapped.

    Parameters
    ----------
    path : Path
        Its ending says PNG or TIFF.
    pixels : (X, Y, Z, C) float array
    like : Micrograph
        What the image was made of.
    as_float : bool
        Write single precision, unrounded; into TIFF only.

    Returns
    -------
    path : Path

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
    with whole_file(path) as temporary:
        if is_png:
            image = np.moveaxis(stored[:, :, 0], 0, 1)
            Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image)).save(
                temporary, format="PNG"
            )
        else:
            _write_tiff(temporary, path, stored, like)
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
        if image.format != "PNG":
            raise BIDSDataError(f"{path}: expected a PNG image, found {image.format}; name it by what it is")
        if image.mode not in _OPAQUE:
            kinds = {"1": "1 bit per pixel", "P": "a palette", "LA": "transparency", "RGBA": "transparency"}
            raise BIDSDataError(
                f"{path}: expected grey values or RGB, found {kinds.get(image.mode, f'mode {image.mode}')}, "
                "of which noise cannot be told; export the image as the camera gave it"
            )
        # Pillow would give 8 bits of each.
        if image.mode == "RGB" and any("16" in str(tile) for tile in image.tile):
            raise BIDSDataError(f"{path}: RGB of 16 bits is read from TIFF only; export it as TIFF")
        image.load()
        pixels = np.asarray(image)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    columns_first = np.moveaxis(np.atleast_3d(pixels), 0, 1)[:, :, None]
    return Micrograph(
        columns_first, 8 * pixels.dtype.itemsize, None, path, "YXS" if pixels.ndim == 3 else "YX"
    )


def _read_tiff(path: Path) -> Micrograph:
    with tifffile.TiffFile(path) as file:
        series, page = file.series[0], file.pages[0]
        kind = _unusual_kind(page)
        if kind:
            raise BIDSDataError(
                f"{path}: expected grey values or RGB, found {kind}, of which noise cannot be told; export "
                "the image as the camera gave it"
            )
        if len(file.series) > 1:
            raise BIDSDataError(
                f"{path}: expected one image or a stack of equal planes, found {len(file.series)} images; "
                "export the one that counts"
            )
        pixels, axes = series.asarray(), series.axes
        ome = file.ome_metadata
        white_is_zero = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        size, depth = pixel_size_mm(file), significant_bits(ome) or page.bitspersample
    kept = [axis for axis, length in zip(axes, pixels.shape) if length > 1 or axis in "YX"]
    pixels = pixels.reshape(
        [length for axis, length in zip(axes, pixels.shape) if length > 1 or axis in "YX"]
    )
    order = "".join(kept)
    pages, channels = [one for one in order if one in _PAGES], [one for one in order if one in "SC"]
    if set(order) - set(_PAGES + "SCYX") or len(pages) > 1 or len(channels) > 1:
        raise BIDSDataError(
            f"{path}: expected an image, a stack of planes, and channels, found the axes {axes} with "
            f"{' x '.join(map(str, pixels.shape))}; export one position or time"
        )
    if pixels.dtype.kind not in "uif" or not pixels.size:
        raise BIDSDataError(f"{path}: expected real numbers, found {pixels.dtype}; export magnitudes")
    moved = np.moveaxis(pixels, (order.index("X"), order.index("Y")), (0, 1))
    rest = [axis for axis in order if axis not in "XY"]
    if rest == [*channels, *pages] and channels and pages:
        moved = moved.swapaxes(2, 3)
    whole = moved.reshape(*moved.shape[:2], *(moved.shape[2:3] if pages else (1,)), -1)
    return Micrograph(whole, int(min(depth, 8 * pixels.dtype.itemsize)), size, path, order, white_is_zero)


def _unusual_kind(page: tifffile.TiffPage) -> str:
    """What a page holds beside or instead of grey values or RGB; empty where nothing."""
    if page.bitspersample == 1:
        return "1 bit per pixel"
    if set(page.extrasamples) & {tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA}:
        return "transparency"
    kinds = tifffile.PHOTOMETRIC
    if page.photometric == kinds.PALETTE:
        return "a palette"
    known = (kinds.MINISBLACK, kinds.MINISWHITE, kinds.RGB)
    return "" if page.photometric in known else f"colours of the kind {kinds(page.photometric).name}"


def _write_tiff(temporary: Path, path: Path, stored: NDArray[np.generic], like: Micrograph) -> None:
    """Axes as in the file it was made of; OME metadata for names that promise them."""
    sizes = {"X": 0, "Y": 1}
    page = next((axis for axis in like.axes if axis in _PAGES), None)
    channel = next((axis for axis in like.axes if axis in "SC"), None)
    kept = stored
    if channel is None:
        kept = kept[..., 0]
    if page is None:
        kept = kept[:, :, 0]
    else:
        sizes[page] = 2
    if channel is not None:
        sizes[channel] = kept.ndim - 1
    array = np.ascontiguousarray(kept.transpose([sizes[axis] for axis in like.axes]))
    metadata: dict[str, str | float] = {"axes": like.axes}
    is_ome = ".ome." in path.name.lower()
    if like.pixel_size_mm and is_ome:
        x, y, z = like.pixel_size_mm
        metadata |= {"PhysicalSizeX": x * 1e3, "PhysicalSizeXUnit": "µm"}
        metadata |= {"PhysicalSizeY": y * 1e3, "PhysicalSizeYUnit": "µm"}
        metadata |= {"PhysicalSizeZ": z * 1e3, "PhysicalSizeZUnit": "µm"} if page == "Z" else {}
    if is_ome and like.is_integer and np.issubdtype(array.dtype, np.integer):
        metadata["SignificantBits"] = like.bit_depth
    photometric = "miniswhite" if like.white_is_zero else "minisblack"
    if "S" in like.axes and stored.shape[-1] == 3:
        photometric = "rgb"
    planar = (
        {} if "S" not in like.axes else {"planarconfig": "contig" if like.axes[-1] == "S" else "separate"}
    )
    tifffile.imwrite(
        temporary,
        array,
        ome=is_ome,
        bigtiff=array.nbytes > 3.9e9 or path.name.lower().endswith(".btf"),
        photometric=photometric,
        metadata=metadata,
        **planar,
    )
