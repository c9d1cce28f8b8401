"""Finds places that one micrograph exposure shows far brighter than the others: charging, contamination."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.micrographs.structure import sum_squares, with_mean_of_others

_BLOCK = 16
_LEAST_COUNTED = 0.5
"""Of the pixels of a block."""
_MOST_CONTRAST = 1.0
"""Times the range of the image's own blocks, or the noise of a pixel, by which one may be brighter: uneven
illumination of 0.6 to 1.4 makes up to 0.7."""
_CERTAINTY = 6.0
"""Standard errors."""


@dataclass(frozen=True, slots=True)
class BrighterPlaces:
    """Where one exposure is far brighter than the others."""

    part: float
    """Of the image."""
    contrast: float
    """Largest excess, over the range of the image's own brightness."""


def find_brighter_places(
    exposures: NDArray[np.float32], counted: NDArray[np.bool_]
) -> list[BrighterPlaces | None]:
    """Compare the brightness of each exposure with that of the mean of the others, block by block.

    Parameters
    ----------
    exposures : (R, X, Y, Z) float array
        Aligned, two or more, brought to one mean.
    counted : (X, Y, Z) bool array
        Pixels that all of them have measured.

    Returns
    -------
    places : list of BrighterPlaces or None
        None where an exposure is nowhere far brighter than the others.
    """
    numbers = sum_squares(counted.astype(np.float32), _BLOCK)
    used = numbers >= _LEAST_COUNTED * _BLOCK**2
    if np.count_nonzero(used) < 2:
        return [None] * len(exposures)
    found: list[BrighterPlaces | None] = []
    for exposure, others in with_mean_of_others(exposures):
        difference = (exposure - others) * counted
        means, squares = (
            sum_squares(one, _BLOCK)[used] / numbers[used] for one in (difference, np.square(difference))
        )
        noise = np.sqrt(np.maximum(squares - np.square(means), 0))
        usual = sum_squares(others * counted, _BLOCK)[used] / numbers[used]
        contrast = max(float(np.ptp(np.percentile(usual, (2, 98)))), float(np.median(noise)))
        excess = means - np.median(means)
        bright = excess > np.maximum(_MOST_CONTRAST * contrast, _CERTAINTY * noise / np.sqrt(numbers[used]))
        is_there = bright.any() and contrast > 0
        found.append(
            BrighterPlaces(float(bright.mean()), float(excess.max() / contrast)) if is_there else None
        )
    return found
