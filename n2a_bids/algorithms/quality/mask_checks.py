"""Checks a brain mask: does it lie on the brain, was the image skull-stripped, is there anything outside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.normalization import Mask, Volume

_STEP_MM = 4.0
"""Coarse enough to be quick and to forgive small faults of a mask."""
_REACH_STEPS = 10
_SHELL_STEPS = 2
_EROSIONS = 2
"""deepbet, for one, draws the border outside of the CSF, where the scalp is near."""
_BRIGHTEST = 75
"""Percentile inside the mask that brightness is cut at: the fat of the scalp must not outshine the brain."""
_SCALP_MM = 10.0
_STRAY = 0.01


def misplacement_mm(image: Volume, mask: Mask, voxel_sizes_mm: Sequence[float]) -> float:
    """How far away a mask would lie best.

    Within the border of a mask that fits lies tissue, without lie darker skull, CSF or air. This contrast
    of the border is computed for every shift of the mask by up to 40 mm along each axis, in steps of 4 mm;
    where it is largest, the mask would lie best. The image is compared with itself, so that its contrast,
    its noise and a missing skull matter little. Tight and generous masks are judged alike, since the mask
    is also eroded by one and two steps, and the sharpest border counts.

    Parameters
    ----------
    image : (X, Y, Z) float array
    mask : (X, Y, Z) bool array
        Brain, not empty.
    voxel_sizes_mm : sequence of three floats

    Returns
    -------
    distance_mm : float
        0 to 4 for masks that fit. Of masks shifted by 10 mm and more it is the shift, to one step.
    """
    factor = np.asarray(voxel_sizes_mm) / _STEP_MM
    smooth = ndimage.gaussian_filter(np.asarray(image, np.float32), 0.3 * np.maximum(0, 1 / factor - 1))
    margin = _REACH_STEPS + _SHELL_STEPS
    # What continues beyond the field of view gives a border that lies there no contrast, either way.
    coarse = np.pad(ndimage.zoom(smooth, factor, order=1), margin, mode="edge")
    inside = np.pad(ndimage.zoom(mask.astype(np.float32), factor, order=1) > 0.5, margin)
    if not inside.any():
        return 0.0
    spectrum = np.fft.rfftn(np.minimum(coarse, np.percentile(coarse[inside], _BRIGHTEST)))
    shifts = np.arange(-_REACH_STEPS, _REACH_STEPS + 1)
    best = (-np.inf, 0.0)
    for _ in range(_EROSIONS + 1):
        if not inside.any():
            break
        correlation = spectrum * np.conj(np.fft.rfftn(_border(inside)))
        contrast = np.fft.irfftn(correlation, coarse.shape, axes=(0, 1, 2))[np.ix_(shifts, shifts, shifts)]
        peak = np.unravel_index(int(contrast.argmax()), contrast.shape)
        best = max(best, (float(contrast[peak]), _STEP_MM * float(np.linalg.norm(shifts[list(peak)]))))
        inside = ndimage.binary_erosion(inside)
    return best[1]


def dice(first: Mask, second: Mask) -> float:
    """Overlap of two masks: twice what they share over the sum of their sizes; 0 where both are empty.

    Examples
    --------
    >>> round(float(dice(np.array([True, True, False]), np.array([False, True, False]))), 2)
    0.67
    """
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / max(total, 1)


def cut_share(mask: Mask, voxel_sizes_mm: Sequence[float]) -> float:
    """How much of a brain the field of view cuts: its area in the outermost slices over that of a section.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
        Brain.
    voxel_sizes_mm : sequence of three floats

    Returns
    -------
    share : float
        0 of a brain that lies within the view; about 1 where the view ends in its middle on one side. The
        area of all six sides counts, over the volume of the brain to the power of two thirds.

    Examples
    --------
    >>> brain = np.zeros((12, 12, 12), bool)
    >>> brain[2:10, 2:10, 2:10] = True
    >>> cut_share(brain, (1, 1, 1)), cut_share(brain[:, :, 6:], (1, 1, 1)) > 1
    (0.0, True)
    """
    sizes = np.asarray(voxel_sizes_mm, float)
    volume = np.count_nonzero(mask) * float(np.prod(sizes))
    area = sum(
        np.count_nonzero(mask.take(end, axis)) * float(np.prod(np.delete(sizes, axis)))
        for axis in range(3)
        for end in (0, -1)
    )
    return float(area / volume ** (2 / 3)) if volume else 0.0


def _border(inside: Mask) -> Volume:
    """Weights that take the mean of a shell outside of a mask from that of a shell inside."""
    inner = inside & ~ndimage.binary_erosion(inside, iterations=_SHELL_STEPS)
    outer = ndimage.binary_dilation(inside, iterations=_SHELL_STEPS) & ~inside
    return inner / np.count_nonzero(inner) - outer / np.count_nonzero(outer)


def is_stripped(image: Volume, mask: Mask, voxel_sizes_mm: Sequence[float]) -> bool:
    """Whether an image is zero everywhere but in the brain: more than 10 mm from it next to nothing is left.

    Parameters
    ----------
    image : (X, Y, Z) float array
        As acquired: interpolation leaves ripples in what was zero.
    mask : (X, Y, Z) bool array
        Brain, not empty.
    voxel_sizes_mm : sequence of three floats
    """
    # Scalp, face and neck lie farther from the brain than its own membranes.
    far = ndimage.distance_transform_edt(~mask, sampling=voxel_sizes_mm) > _SCALP_MM
    if not far.any():
        return False
    return bool(np.count_nonzero(image[far]) < _STRAY * min(np.count_nonzero(mask), np.count_nonzero(far)))


_LAG_MM = 8.0
"""Beyond the reach of interpolation and of usual smoothing, well within the size of gyri and ventricles."""

_LEAST = 0.02
"""What is left of a head whose noise has the SD of its mean signal; at half of that noise it is 0.12."""

_STANDARD_ERRORS = 4.0


def shows_structure(
    image: NDArray[np.floating], mask: NDArray[np.bool_], voxel_sizes_mm: Sequence[float]
) -> tuple[bool, float]:
    """Tell tissue from noise by the likeness of voxels that are 8 mm apart.

    Anatomy is alike over millimetres, noise is not, even where interpolation or smoothing has spread it
    over its neighbours. Contrast with the surroundings does not matter, so that tight fields of view and
    skull-stripped images are judged by the same rule.

    Parameters
    ----------
    image : array (x, y, z)
        Any intensity units.
    mask : bool array (x, y, z)
        Region to judge; only pairs of voxels inside of it count.
    voxel_sizes_mm : sequence of three floats
        Along the axes of the array.

    Returns
    -------
    is_structured : bool
        False also for a region that is constant, or too small to hold pairs.
    correlation : float
        Mean over the three axes; about 0.4 in the brain of a usual T1w image, 0 for noise, 0 too where it
        is not defined.
    """
    correlations, n_pairs = [], 0
    for axis, size_mm in enumerate(voxel_sizes_mm):
        lag = max(1, round(_LAG_MM / size_mm))
        near, far = ([slice(None)] * 3 for _ in range(2))
        near[axis], far[axis] = slice(None, -lag), slice(lag, None)
        both = mask[tuple(near)] & mask[tuple(far)]
        first, second = (np.asarray(image[tuple(part)][both], dtype=np.float64) for part in (near, far))
        n_pairs += first.size
        if first.size > 2 and first.std() > 0 and second.std() > 0:
            correlations.append(np.corrcoef(first, second)[0, 1])
    if not correlations:
        return False, 0.0
    correlation = float(np.mean(correlations))
    return correlation > max(_LEAST, _STANDARD_ERRORS / np.sqrt(n_pairs)), correlation
