"""One image of a microscope in memory, with what its file tells of depth, size and order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PAGES = "ZTIQ"
"""Axes of TIFF series that count planes."""


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
    resolution: tuple[float, float, int] | None = None
    """Tags of a TIFF file, in pixels per unit along X and Y, and the number of the unit; None for others."""

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
