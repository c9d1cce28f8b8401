"""Slices darker than those beside them: dropout by motion of the head, or interference, in one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_REMAINING = 0.6
"""Of the signal of the slices beside it, over that of other volumes. In six real diffusion series 0.70 at
least, but for one slice of 0.06, which was lost; in seven T1w heads 0.92."""
_LEAST_HEAD = 0.3
"""Of the brighter voxels of an image, which belong to the head."""
_SAMPLES = 64
"""Along each edge of a slice."""
_FEWEST_VOXELS, _LEAST_OF_LARGEST = 30, 0.1
"""Of a slice that is judged, and as a part of the largest one: the ends of a head change fast."""
_FEWEST_ALIKE = 3
"""Volumes of one b-value whose median tells how bright a slice is beside its neighbours."""


@dataclass(frozen=True, slots=True)
class DarkSlice:
    """A slice that has lost signal."""

    volume: int
    index: int
    remaining: float
    """Signal over that of the slices beside it, 0 to 1."""


def find_dark_slices(
    volumes: NDArray[np.float32], axis: int, shells: Sequence[float] | NDArray[np.floating]
) -> list[DarkSlice]:
    """Find slices that are darker than both neighbours let expect.

    What anatomy makes darker is so in all volumes, and slowly from slice to slice; a slice whose signal was
    lost stands alone.

    Parameters
    ----------
    volumes : (X, Y, Z, C) array
        Magnitudes; one volume is judged by itself.
    axis : int
        Across the slices.
    shells : (C,) array
        b-values of volumes that look alike are equal.

    Returns
    -------
    slices : list of DarkSlice
        By volume, then slice.
    """
    slices = np.moveaxis(volumes, axis, 0)
    steps = [max(1, size // _SAMPLES) for size in slices.shape[1:3]]
    slices = slices[:, :: steps[0], :: steps[1]]
    mean = np.nan_to_num(slices.mean(axis=-1))
    bright = mean[mean > np.median(mean)]
    if len(slices) < 3 or not bright.size:
        return []
    head = mean > _LEAST_HEAD * np.percentile(bright, 90)
    beside = head[:-2] & head[2:]
    counts = beside.sum(axis=(1, 2))
    judged = np.flatnonzero(counts >= max(_FEWEST_VOXELS, _LEAST_OF_LARGEST * counts.max()))
    parts = np.array(
        [[_remaining(slices[i : i + 3], beside[i], c) for i in judged] for c in range(len(shells))]
    )
    expected = _expected(parts, np.asarray(shells))
    return [
        DarkSlice(int(volume), int(judged[place]) + 1, float(parts[volume, place]))
        for volume, place in np.argwhere(parts < _MOST_REMAINING * expected)
    ]


def _remaining(three: NDArray[np.float32], beside: NDArray[np.bool_], volume: int) -> float:
    before, here, after = (float(np.median(one[beside, volume])) for one in three)
    return 2 * here / (before + after) if before + after > 0 else 1.0


def _expected(parts: NDArray[np.float64], shells: NDArray[np.floating]) -> NDArray[np.float64]:
    """What volumes of one b-value have in the median; of few of them, all volumes; at most 1."""
    expected = np.ones_like(parts)
    if len(parts) < _FEWEST_ALIKE:
        return expected
    for members in (shells == shell for shell in np.unique(shells)):
        alike = members if members.sum() >= _FEWEST_ALIKE else np.ones(len(shells), bool)
        expected[members] = np.minimum(np.median(parts[alike], axis=0), 1.0)
    return expected
