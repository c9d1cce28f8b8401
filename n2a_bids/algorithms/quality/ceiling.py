"""Finds bright tissue that was cut off (clipped) at one value when an image was stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from n2a_bids.algorithms.normalization import Mask, Volume

_FEWEST_VOXELS, _LEAST_SHARE = 20, 0.0005
"""In the brain: fewer change nothing that anybody would see."""
_BEYOND_TAIL, _FEWEST_LEVELS = 1.5, 64
"""Times the voxels of the next lower value. The tail of intensities grows thinner towards the largest value:
where nothing was cut off, fewer voxels have it than the next lower one (eleven real heads: one voxel or none
has it). Of fewer levels the last may hold a whole tissue."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The value at which an image was cut off."""

    value: float
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
