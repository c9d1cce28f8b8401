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
    lost stands alone. Of several volumes, slices between and beyond dark ones are compared with the same
    slices of like volumes: of a slab that was lost, its borders alone differ from the slices beside them.

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
    shells = np.asarray(shells)
    remaining = np.ones((len(shells), len(slices)))
    remaining[:, judged + 1] = parts
    found = np.zeros(remaining.shape, bool)
    found[:, judged + 1] = parts < _MOST_REMAINING * _expected(parts, shells)
    if found.any() and len(shells) >= _FEWEST_ALIKE:
        _add_slabs(found, remaining, _over_like_volumes(slices, head, shells))
    return [
        DarkSlice(int(volume), int(index), float(remaining[volume, index]))
        for volume, index in np.argwhere(found)
    ]


def _remaining(three: NDArray[np.float32], beside: NDArray[np.bool_], volume: int) -> float:
    before, here, after = (float(np.median(one[beside, volume])) for one in three)
    return 2 * here / (before + after) if before + after > 0 else 1.0


def _expected(parts: NDArray[np.float64], shells: NDArray[np.floating]) -> NDArray[np.float64]:
    """What volumes of one b-value have in the median; of few of them, all volumes; at most 1.

    Where most volumes of one b-value lost a slice that the others have, these tell.
    """
    if len(parts) < _FEWEST_ALIKE:
        return np.ones_like(parts)
    expected = _usual(parts, shells)
    whole = np.median(parts, axis=0)
    return np.minimum(np.where(expected < _MOST_REMAINING * whole, whole, expected), 1.0)


def _usual(values: NDArray[np.float64], shells: NDArray[np.floating]) -> NDArray[np.float64]:
    """Median over the volumes of one b-value; of few of them, over all volumes."""
    usual = np.empty_like(values)
    for members in (shells == shell for shell in np.unique(shells)):
        alike = members if members.sum() >= _FEWEST_ALIKE else np.ones(len(shells), bool)
        usual[members] = np.median(values[alike], axis=0)
    return usual


def _over_like_volumes(
    slices: NDArray[np.float32], head: NDArray[np.bool_], shells: NDArray[np.floating]
) -> NDArray[np.float64]:
    """(C, Z) signal of each slice over that of the same slice in like volumes; NaN in air."""
    levels = np.full((len(shells), len(slices)), np.nan)
    for index in np.flatnonzero(head.sum(axis=(1, 2)) >= _FEWEST_VOXELS):
        levels[:, index] = np.median(slices[index][head[index]], axis=0)
    usual = _usual(levels, shells)
    return np.divide(levels, usual, out=np.full_like(levels, np.nan), where=usual > 0)


def _add_slabs(
    found: NDArray[np.bool_], remaining: NDArray[np.float64], over_like: NDArray[np.float64]
) -> None:
    """Add the slices behind a dark one that are as dark beside the nearest whole one before it.

    Both arrays are changed. Contrast changes slowly from slice to slice, so that the nearest one tells.
    """
    n_slices, borders = found.shape[1], found.copy()
    for volume, border in np.argwhere(borders):
        for step in (-1, 1):
            before = border - step
            while 0 <= before < n_slices and borders[volume, before]:
                before -= step
            place = border + step
            while min(before, place) >= 0 and max(before, place) < n_slices:
                here, whole = over_like[volume, [place, before]]
                if not borders[volume, place]:
                    if not here < _MOST_REMAINING * whole:
                        break
                    found[volume, place], remaining[volume, place] = True, here / whole
                place += step
