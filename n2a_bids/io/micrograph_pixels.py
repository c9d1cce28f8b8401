"""Pixel values of a micrograph: bit depth, channel order, and the value at which pixels saturate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from n2a_bids.errors import BIDSDataError

OTHER_FORMATS = (
    *(".jpg", ".jpeg", ".jp2", ".bmp", ".gif", ".webp"),
    *(".mrc", ".mrcs", ".dm3", ".dm4", ".ser", ".eer", ".czi", ".nd2", ".lif", ".oib", ".oif"),
)
"""Pictures, and files of microscopes, that are not read."""
SUFFIXES = (".png", ".tif", ".tiff", ".btf", ".tf8", ".ome.zarr")
"""Endings of what is read, in lower case; ``.ome.tif`` and ``.ome.btf`` end so, too."""

PAGES = "ZTIQ"
"""Axes of TIFF series that count planes."""


def is_micrograph(path: Path) -> bool:
    """Whether a file is named as one that :func:`n2a_bids.io.micrographs.read_micrograph` reads."""
    return path.name.lower().endswith(SUFFIXES)


@dataclass(frozen=True, slots=True)
class Micrograph:
    """One file of a microscope."""

    pixels: NDArray[np.generic]
    """(X, Y, Z, C): columns, rows, pages and channels, in the type they are stored in."""
    bit_depth: int
    """Bits that the values use: 12 in 16 where metadata say so or values pile up at 4095."""
    pixel_size_mm: tuple[float, float, float] | None
    """Of columns, rows and planes (1 where their spacing is not told); None where nothing tells it."""
    path: Path
    axes: str = "YX"
    """Of the array in the file, slowest first, in the letters of TIFF: S and C are channels."""
    white_is_zero: bool = False
    """Whether the file shows the smallest value as white."""
    is_imagej: bool = False
    """Whether ImageJ wrote the file, and reads its unit and spacing."""
    size_by_tags: bool = False
    """Whether nothing but the resolution tells the size of a pixel, which many programs set for printers."""
    saturated_at: int | None = None
    """Largest value of the camera, where it was seen in the values and not told."""
    zarr_format: int | None = None
    """Of the folder, 2 or 3; None for other files."""
    not_stored: NDArray[np.int32] | None = None
    """(X, Y, Z, C) number of the chunk of OME-Zarr, from 1, that is not stored and has the fill value; 0
    elsewhere. None where all are stored."""
    resolution: tuple[float, float, int] | None = None
    """Tags of a TIFF file, in pixels per unit along X and Y, and the number of the unit; None for others."""
    orientation: int = 1
    """TIFF tag of the corner and direction in which the picture is shown."""
    calibration: Mapping[str, str | float] = field(default_factory=dict)
    """Of ImageJ: what the stored values mean, as signed numbers."""

    @property
    def is_integer(self) -> bool:
        """Whether values are whole numbers, with a largest one at which pixels are saturated."""
        return np.issubdtype(self.pixels.dtype, np.integer)

    @property
    def largest_value(self) -> float:
        """At which pixels are saturated; infinite for floating-point images."""
        if not self.is_integer:
            return np.inf
        if self.saturated_at is not None:
            return float(self.saturated_at)
        return float(min(2**self.bit_depth - 1, np.iinfo(self.pixels.dtype).max))


_DEPTHS = range(9, 16)
"""Of cameras whose values are stored in 16 bits."""
_LEAST_PILE = 20
"""Pixels at the largest value that are no chance, and"""
_PILE = 8.0
"""how many times as many as at each value below it."""
_BELOW = 8
"""Values below the largest that are counted."""


def find_saturation(values: NDArray[np.generic]) -> int | None:
    """Value at which a camera of 9 to 15 bits was saturated, seen where far more pixels lie than just below.

    Parameters
    ----------
    values : array

    Returns
    -------
    saturated_at : int or None
        The largest value, where it is that of so many bits, in the lower or the upper part of 16.

    Examples
    --------
    >>> counts = np.arange(6000, dtype=np.uint16)
    >>> find_saturation(np.minimum(counts, 4095)), find_saturation(np.minimum(counts, 4095) * 16)
    (4095, 65520)
    >>> find_saturation(counts), find_saturation(counts[:4096])
    (None, None)
    """
    if values.dtype.kind not in "ui" or values.dtype.itemsize != 2 or not values.size:
        return None
    largest = int(values.max())
    steps = {(2**bits - 1) << shift: 1 << shift for bits in _DEPTHS for shift in (0, 16 - bits)}
    if largest not in steps:
        return None
    n_largest = np.count_nonzero(values == largest)
    n_near = np.count_nonzero(values >= largest - _BELOW * steps[largest])
    piled = n_largest >= _LEAST_PILE and n_largest > _PILE * (n_near - n_largest) / _BELOW
    return largest if piled else None


def find_depth(pixels: NDArray[np.generic], told: int) -> tuple[int, int | None]:
    """Bits that the values use, and the value at which they are saturated where only values tell.

    Parameters
    ----------
    pixels : array
    told : int
        Bits by the metadata, which may know the type only, or be wrong.
    """
    n_bits = 8 * pixels.dtype.itemsize
    if told < n_bits and pixels.dtype.kind == "u" and pixels.max() < 2**told:
        return told, None
    found = find_saturation(pixels)
    return (found.bit_length(), found) if found else (n_bits, None)


def check_axes(path: Path, shape: tuple[int, ...], axes: str) -> None:
    """Refuse arrays of more than columns, rows, one kind of planes and channels, with a `BIDSDataError`.

    Parameters
    ----------
    path : Path
        Named in the error.
    shape : tuple of int
    axes : str
        Of the array, in the letters of TIFF.
    """
    kept = _long_axes(shape, axes)
    order = [axis for axis, _ in kept]
    several = any(sum(axis in kind for axis in order) > 1 for kind in (PAGES, "SC"))
    if set(order) - set(PAGES + "SCYX") or several:
        raise BIDSDataError(
            f"{path}: expected an image, a stack of planes, and channels, found the axes {axes} with "
            f"{' x '.join(str(size) for _, size in kept)}; export one position or time"
        )


def _long_axes(shape: tuple[int, ...], axes: str) -> list[tuple[str, int]]:
    """Axes with their lengths, but for those of length 1, X and Y aside."""
    return [(axis, size) for axis, size in zip(axes, shape) if size > 1 or axis in "YX"]


def columns_first(path: Path, pixels: NDArray[np.generic], axes: str) -> tuple[NDArray[np.generic], str]:
    """Bring the array of a file into the order of columns, rows, planes and channels.

    Parameters
    ----------
    path : Path
        Named in errors.
    pixels : array
    axes : str
        Of the array, in the letters of TIFF.

    Returns
    -------
    pixels : (X, Y, Z, C) array
    axes : str
        Those of the file that are longer than 1, or X and Y.

    Raises
    ------
    BIDSDataError
        If there are more axes, or no real numbers.
    """
    check_axes(path, pixels.shape, axes)
    kept = _long_axes(pixels.shape, axes)
    order = "".join(axis for axis, _ in kept)
    pixels = pixels.reshape([size for _, size in kept])
    pages, channels = [one for one in order if one in PAGES], [one for one in order if one in "SC"]
    if pixels.dtype.kind not in "uif" or not pixels.size:
        raise BIDSDataError(f"{path}: expected real numbers, found {pixels.dtype}; export magnitudes")
    moved = np.moveaxis(pixels, (order.index("X"), order.index("Y")), (0, 1))
    rest = [axis for axis in order if axis not in "XY"]
    if rest == [*channels, *pages] and channels and pages:
        moved = moved.swapaxes(2, 3)
    return moved.reshape(*moved.shape[:2], *(moved.shape[2:3] if pages else (1,)), -1), order


def halve(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Means of 2 x 2 pixels of a (..., Y, X) image, in the same type."""
    rows, columns = (max(size // 2, 1) for size in image.shape[-2:])
    parts = image[..., : 2 * rows, : 2 * columns]
    mean = parts.reshape(*image.shape[:-2], rows, -1, columns, parts.shape[-1] // columns).mean(axis=(-3, -1))
    return (np.rint(mean) if image.dtype.kind in "ui" else mean).astype(image.dtype)
