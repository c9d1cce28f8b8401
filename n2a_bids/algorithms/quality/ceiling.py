"""Finds bright tissue that did not fit into the stored numbers: cut off at one value, or wrapped around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.normalization import Mask, Volume

_FEWEST_VOXELS, _LEAST_SHARE = 20, 0.0005
"""In the brain: fewer change nothing that anybody would see."""
_BEYOND_TAIL, _FEWEST_LEVELS = 1.5, 64
"""Times the voxels of the next lower value. The tail of intensities grows thinner towards the largest value:
where nothing was cut off, fewer voxels have it than the next lower one (eleven real heads: one voxel or none
has it). Of fewer levels the last may hold a whole tissue."""
_WRAP = 0.75
"""Of the range of numbers: what wraps jumps from one end of it to the other, nearly; anatomy, from air to the
brightest fat, by half of it."""
_LARGEST_WRAPPED_BYTES = 2
"""No scanner counts to the end of 32 bits."""
_MOST_BETWEEN = 0.1
"""Values in the middle half of an unsigned range over those above it. Between air and the brightest of a head
lie all others; between zero and what lay below it, none."""
_MOST_JUMPS = 1e-4
"""Of the voxels: single ones are specks, which are mended."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The value at which an image was cut off."""

    value: float
    """In the intensity of the image."""
    share: float
    """Part of the brain that holds it."""


def find_ceiling(image: Volume, mask: Mask) -> Ceiling | None:
    """Find a largest value at which more voxels lie than a tail of intensities would leave there.

    Parameters
    ----------
    image : (X, Y, Z) float array
        As stored: interpolation spreads values.
    mask : (X, Y, Z) bool array
        Brain.

    Returns
    -------
    ceiling : Ceiling or None
        None where nothing was cut off in the brain.
    """
    values, top = image[mask], image.max()
    n_top = np.count_nonzero(values == top)
    if n_top < max(_FEWEST_VOXELS, _LEAST_SHARE * values.size) or n_top == values.size:
        return None
    n_next = np.count_nonzero(values == values[values < top].max())
    if n_top <= _BEYOND_TAIL * n_next or np.unique(values).size < _FEWEST_LEVELS:
        return None
    return Ceiling(float(top), n_top / values.size)


def count_jumps(stored: NDArray) -> int:
    """Neighbours that lie nearly the whole range of an integer apart.

    Of unsigned integers only those count that negative numbers were made of: images that fill such a range
    have bright edges.

    Parameters
    ----------
    stored : (N,) array
        Values as they are stored, of neighbours along one axis.

    Examples
    --------
    >>> count_jumps(np.array([0, 30000, 32760, -32760, 31000], np.int16))
    2
    >>> count_jumps(np.array([0, 4, 65530, 2, 900], np.uint16))
    2
    >>> count_jumps(np.array([0, 4, 65530, 30000, 900], np.uint16))
    0
    """
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > _LARGEST_WRAPPED_BYTES:
        return 0
    if stored.dtype.kind == "u" and (stored.dtype.itemsize == 1 or not _is_split(stored)):
        return 0
    limits = np.iinfo(stored.dtype)
    range_ = float(limits.max) - float(limits.min)
    if not stored.size or float(stored.max()) - float(stored.min()) <= _WRAP * range_:
        return 0
    return int(np.count_nonzero(np.abs(np.diff(stored.astype(np.int64))) > _WRAP * range_))


def _is_split(unsigned: NDArray) -> bool:
    """Whether next to nothing lies between the low and the high values of a range."""
    top = np.iinfo(unsigned.dtype).max
    n_above = np.count_nonzero(unsigned > _WRAP * top)
    return np.count_nonzero(unsigned > (1 - _WRAP) * top) - n_above < _MOST_BETWEEN * n_above


def wrapping_problem(n_jumps: int, n_voxels: int, dtype: np.dtype) -> str:
    """What so many jumps (of `count_jumps`) show to have wrapped, and what to do; empty where nothing did."""
    if n_jumps <= _MOST_JUMPS * n_voxels:
        return ""
    if dtype.kind == "u":
        lost, kind = "what is negative was stored as the largest numbers", "signed"
    else:
        lost, kind = "what is brighter was stored as negative numbers", "unsigned"
    return (
        f"{n_jumps} neighbours at opposite ends of its range: {lost}; convert the image again as {kind} "
        "integers or floating point"
    )
