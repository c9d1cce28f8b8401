"""Noise level (SD) of repetitions: one number, a map, and ratios between repetitions, from differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import chi2

from n2a_bids.algorithms.gaussian import gaussian_blur
from n2a_bids.algorithms.normalization import Mask, MaskedSmoother, Volume

_WINDOW_SD_VOXELS, _CAP_SD = 8.0, 3.5
"""Gaussian window of the local SD, and what single values are capped at, in SDs."""
_BRAIN_WINDOW_SD_VOXELS = 4.0
"""The same within the brain, some 2,800 voxels: noise that is even is known to 1.3 %."""
_PASSES = 2
"""Of the cap on single values: with a global level, then with the local one."""

_FEWEST_VOXELS = 200
"""Of a brain, from which on a noise level of its own is known to some percent."""

_PIECE_VOXELS = 1000
"""Over which a ratio of variances is measured, to some percent."""


def high_pass(image: Volume, sd_voxels: float = 3.0) -> Volume:
    """Image minus its Gaussian-smoothed self: takes out shading, keeps 99 % of white noise power."""
    return image - gaussian_blur(image, sd_voxels, 3.0)


def local_sd(values: Volume, mask: Mask) -> Volume:
    """Map of the local standard deviation of a zero-mean image.

    Values are capped at 3.5 SDs, first of a robust global SD, then of the map found
    with that, so that single structures (vessels, residual misalignment) do not raise the map,
    and places of strong noise do not lose it.

    Parameters
    ----------
    values : (X, Y, Z) float array
        Zero-mean image, such as a difference of repetitions.
    mask : (X, Y, Z) bool array
        Voxels that count.

    Returns
    -------
    sd : (X, Y, Z) float32 array
        Positive everywhere; far from the mask, the global value.
    """
    return _capped_sd(values, mask, MaskedSmoother(mask, _WINDOW_SD_VOXELS))


def _capped_sd(values: Volume, mask: Mask, smooth: MaskedSmoother) -> Volume:
    """As `local_sd`, with the smoother of the mask, which several images share."""
    spread, reached = robust_sd(values[mask]), smooth.reached

    def around(squares: Volume) -> Volume:
        found = np.maximum(smooth(squares), (0.05 * spread) ** 2)
        return np.where(reached, found, spread**2).astype(np.float32)

    return np.sqrt(capped_variance(values, spread**2, around))


def capped_variance(
    values: NDArray[np.floating], level: float, around: Callable[[Volume], Volume]
) -> NDArray[np.floating]:
    """Mean square of the values around each, to which no single one adds more than 3.5 SDs.

    Parameters
    ----------
    values : array
        Zero-mean.
    level : float
        Variance by which they are capped first; then by what was found.
    around : callable
        From an array like `values` to its mean over what lies around each.
    """
    squares = values.astype(np.float32) ** 2
    variance: NDArray[np.floating] | float = level
    for _ in range(_PASSES):
        variance = around(np.minimum(squares, np.float32(_CAP_SD**2) * variance))
    return variance


def robust_sd(values: NDArray[np.floating]) -> float:
    """Standard deviation of a zero-mean Gaussian from the median of absolute values.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(0, 2, 100_000)
    >>> values[:1000] = 1e6
    >>> 1.98 < robust_sd(values) < 2.05
    True
    """
    return float(np.median(np.abs(values)) / 0.67449)


def typical_variance(values: NDArray[np.floating]) -> float:
    """Noise variance of voxels that were measured several times, of which some hold more than noise.

    The median of their variances passes by voxels whose signal changes, such as ghosts.

    Parameters
    ----------
    values : (N, n) float array
        n measurements of each of N voxels, n >= 2.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(0, 2, (20_000, 4))
    >>> values[:1000, 0] += 1e3
    >>> 3.8 < typical_variance(values) < 4.4
    True
    """
    degrees = values.shape[1] - 1
    return float(np.median(values.var(axis=1, ddof=1)) * degrees / chi2.median(degrees))


def difference_noise_sd(data: NDArray[np.float32], mask: Mask) -> Volume:
    """Noise SD map of one repetition, from the differences of repetitions.

    Parameters
    ----------
    data : (R, X, Y, Z) float array
        Aligned repetitions in one intensity scale, R >= 2.
    mask : (X, Y, Z) bool array
        Voxels that count (the whole head, say).

    Returns
    -------
    noise_sd : (X, Y, Z) float32 array
        Root mean square over repetitions of their noise SDs.
    """
    return _difference_maps(data, [MaskedSmoother(mask, _WINDOW_SD_VOXELS)], [mask])[0]


def brain_and_head_noise_sd(data: NDArray[np.float32], brain: Mask, head: Mask) -> Volume:
    """Noise SD map of one repetition: that of the brain from the brain alone, around it from the whole head.

    Scalp, eyes, neck and vessels differ between repetitions by more than noise. In a window that holds both
    they raised the noise told of the outer 10 mm of the brain of a real pair by a fifth. Within the brain the
    window is half as wide, and follows what is uneven; where noise is even that costs less than 0.01 dB.

    Parameters
    ----------
    data : (R, X, Y, Z) float array
        Aligned repetitions in one intensity scale, R >= 2.
    brain, head : (X, Y, Z) bool array
        Voxels that count. `brain` may be empty, and need not lie within `head`.

    Returns
    -------
    noise_sd : (X, Y, Z) float32 array
        Root mean square over repetitions of their noise SDs.
    """
    if np.count_nonzero(brain) < _FEWEST_VOXELS:
        return difference_noise_sd(data, head)
    smoothers = [MaskedSmoother(brain, _BRAIN_WINDOW_SD_VOXELS), MaskedSmoother(head, _WINDOW_SD_VOXELS)]
    return np.where(brain, *_difference_maps(data, smoothers, [brain, head]))


def _difference_maps(
    data: NDArray[np.float32], smoothers: Sequence[MaskedSmoother], masks: Sequence[Mask]
) -> list[Volume]:
    """Noise SD of one repetition, a map for each mask and its smoother."""
    mean, n_repetitions = data.mean(axis=0), len(data)
    # Two deviate alike, to opposite sides.
    looked_at = data[:1] if n_repetitions == 2 else data
    totals = [np.zeros(mask.shape, np.float32) for mask in masks]
    for image in looked_at:
        detail = high_pass(image - mean)
        for total, mask, smooth in zip(totals, masks, smoothers):
            total += _capped_sd(detail, mask, smooth) ** 2
    degrees_of_freedom = (n_repetitions - 1) * len(looked_at) / n_repetitions
    return [np.sqrt(total / degrees_of_freedom).astype(np.float32) for total in totals]


def repetition_noise_ratio(
    residuals: NDArray[np.float32], deviations: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Noise variance of each repetition over the mean of all.

    The deviations tell the mean variance, the residuals how the variances differ: what a denoised
    image has lost, or kept of the noise, is in all residuals alike. That is so when the denoised
    average was weighted by inverse variance; with other weights differences come out too small, by
    some percent per percent of noise that is left, so that a further round finds the rest.

    The ratio is the median over pieces, so that vessels and other places of unrest do not count;
    within a piece, plain means of squares, for only variances add.

    Parameters
    ----------
    residuals : (R, N) float array
        Repetitions minus a denoised average of them, high-passed, at N voxels; neighbours in space
        should be neighbours here.
    deviations : (R, N) float array
        Repetitions minus their plain mean, high-passed, at the same voxels; R >= 2.

    Returns
    -------
    ratio : (R,) float array
        Mean 1; none below 0.02, whatever the measurement says.
    """
    n_repetitions, n_voxels = deviations.shape
    starts = np.arange(0, max(n_voxels - _PIECE_VOXELS, 0) + 1, _PIECE_VOXELS)
    sizes = np.diff([*starts, n_voxels])
    mean = np.add.reduceat(deviations.astype(np.float64) ** 2, starts, axis=1) / sizes
    variance = np.add.reduceat(residuals.astype(np.float64) ** 2, starts, axis=1) / sizes
    total = np.maximum(mean.sum(axis=0) / (n_repetitions - 1), np.finfo(float).tiny)
    ratio = np.median(1 + (variance - variance.mean(axis=0)) / total, axis=1)
    ratio = np.maximum(ratio, 0.02)
    return ratio / ratio.mean()


def finest_detail(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Differences along all axes in turn, of the SD of white noise: next to no anatomy where tissue is flat.

    Parameters
    ----------
    image : (X, Y, Z) float32 array
        The last voxels of an axis have no next ones: their detail is that of the voxels before.
    """
    detail = image
    for axis in range(image.ndim):
        if image.shape[axis] > 1:
            steps = np.diff(detail, axis=axis)
            detail = np.concatenate((steps, steps.take([-1], axis)), axis) / np.float32(np.sqrt(2))
    return detail


def single_image_noise_sd(image: Volume, mask: Mask) -> float:
    """Noise SD of one image from its finest diagonal Haar coefficients (Donoho's median rule).

    Assumes white noise: after interpolation the result is too low. Of a single slice, the coefficients are
    those in its plane; 0 where the mask holds no neighbours to compare.
    """
    detail, inner, counted = image, ndimage.binary_erosion(mask), mask
    for axis in np.flatnonzero(np.array(image.shape) > 1):
        detail = np.diff(detail, axis=axis) / np.float32(np.sqrt(2))
        later = (slice(None),) * axis + (slice(1, None),)
        inner, counted = inner[later], counted[later]
    counted = inner if inner.any() else counted
    return robust_sd(detail[counted]) if counted.any() else 0.0
