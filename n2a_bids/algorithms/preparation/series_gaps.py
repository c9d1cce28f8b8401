"""Mends single volumes of a diffusion series: specks of impossible values, NaN and filled areas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.masked_filters import Volume
from n2a_bids.algorithms.preparation.gaps import find_gaps, without_gaps

_SPECK_SPREADS = 8.0
"""Times the distance from the median to percentile 99.5: CSF in single voxels of the b0s of six real series
reaches 5.6."""
_LEAST_FILLED = 0.01
"""Part of a volume that holds its smallest, negative value, from which on that is a filling."""


def mend_series(
    series: NDArray[np.float32], voxel_size_mm: Sequence[float], limits: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    """Make specks of impossible values like their surroundings, and areas of NaN or of a filling zero.

    Parameters
    ----------
    series : (X, Y, Z, C) float32 array
        As acquired. Modified: each volume is mended by itself; one without any finite value becomes zero.
    voxel_size_mm : sequence of three floats
    limits : (float, float), optional
        Smallest and largest value that the data type on disk can hold.

    Returns
    -------
    specks : (N,) float32 array
        The values that were mended.
    """
    found = []
    for index in range(series.shape[-1]):
        volume = series[..., index]
        if not _is_odd(volume, limits):
            continue
        if not np.isfinite(volume).any():
            volume[...] = 0
            continue
        gaps = find_gaps(volume, voxel_size_mm, limits, speck_spreads=_SPECK_SPREADS)
        found.append(volume[gaps.specks])
        series[..., index] = without_gaps(volume, gaps)
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def _is_odd(volume: Volume, limits: tuple[float, float] | None) -> bool:
    """Whether a volume is worth a closer look, which takes most of a second."""
    least, largest = float(volume.min()), float(volume.max())
    if not np.isfinite([least, largest]).all() or (limits is not None and largest >= limits[1]):
        return True
    if least < 0 and np.count_nonzero(volume == least) > _LEAST_FILLED * volume.size:
        return True
    values = volume[volume != 0]
    if not values.size:
        return False
    low, middle, high = np.percentile(values, [0.5, 50, 99.5])
    return max(largest - middle, middle - least) > _SPECK_SPREADS * max(high - middle, middle - low)
