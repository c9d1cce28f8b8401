"""Estimates the noise covariance of neighbouring voxels: from differences of images, residuals, one image."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import helmert

from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.noise.covariance import (
    FAR_LAG,
    LARGEST_LAG,
    NoiseCovariance,
    covariance_of_axes,
    white_noise,
)
from n2a_bids.algorithms.noise.estimate import local_sd, robust_sd
from n2a_bids.algorithms.normalization import Mask, MaskedSmoother, Volume

_BLOCK_VOXELS, _MOST_BLOCKS = 24, 24
"""Blocks that are looked at: together some hundred thousand voxels, which settle a correlation to 0.003."""

_SMALLER_BLOCKS, _FEWEST_BLOCKS = (16, 12, 8), 4
"""Edges for images that are too small for enough blocks to tell a standard error by."""

_HIGH_PASS_VOXELS = 6.0
"""SD of the blur that takes shading and slow structure out of differences."""

_CAP = 3.5
"""Largest noise that counts, in SDs: vessels and borders that moved stand out of the noise."""

_SLOPE_VOXELS, _SLOPE_REACH = 1.5, 6
"""SD of the Gaussian whose slopes tell flat places, and the voxels that it reaches."""

_FLAT_PART = 0.6
"""Of the brain, in which the image changes least: borders that moved look like noise."""

_DIFFERENCES = np.array([-1.0, 2.0, -1.0]), np.array([1.0, -4.0, 6.0, -4.0, 1.0])
"""Second and fourth ones across an axis: both leave the noise along it as it is, the fourth ones next to no
anatomy."""

_ANATOMY = 0.05
"""By which the two may tell another correlation of neighbours: what is more is anatomy. With noise of 0.05 to
0.25 SDs in a brain of 0.9 mm they differ by up to 0.02 along axes of coloured noise, by 0.06 to 0.17 where
there is more anatomy than noise."""

_MOST_ANATOMY = 0.08
"""Correlation that tissue may show more where it is less flat. In the same images up to 0.02 along axes of
coloured noise, along that of two real runs 0.04 and 0.06; where there is more anatomy, 0.07 to 0.17."""

_EXTRAPOLATED = 1 / 3
"""Of what the less flat part of the tissue shows more, in the flat one: as the squares of their slopes."""


def covariance_of_noise(noise: NDArray[np.float32], counted: Mask) -> NoiseCovariance:
    """Covariance of images that hold noise alone.

    Parameters
    ----------
    noise : (N, X, Y, Z) float array
        Zero mean and one SD everywhere; the images are independent.
    counted : (X, Y, Z) bool array
        Voxels that count, at least some thousand.

    Returns
    -------
    covariance : NoiseCovariance
        White where no block has enough voxels.
    """
    capped = np.clip(noise, -_CAP, _CAP) * counted
    edge, blocks = _choose_blocks(counted)
    if not blocks:
        return white_noise()
    margin = FAR_LAG
    # An axis shorter than a block is filled up to one: what is shifted stays as large as what is not.
    pads = [(margin, margin + max(edge - size, 0)) for size in counted.shape]
    padded, mask = np.pad(capped, [(0, 0), *pads]), np.pad(counted, pads)
    sums = np.zeros((len(blocks), 2, len(_LAGS)))
    for row, corner in enumerate(blocks):
        here = tuple(slice(low + margin, low + margin + edge) for low in corner)
        values, inside = padded[(slice(None), *here)], mask[here]
        for column, lag in enumerate(_LAGS):
            there = tuple(slice(part.start + step, part.stop + step) for part, step in zip(here, lag))
            both = inside & mask[there]
            sums[row, 0, column] = np.einsum("nxyz,nxyz->", values, padded[(slice(None), *there)])
            sums[row, 1, column] = np.count_nonzero(both) * len(noise)
    return _from_sums(sums)


def difference_covariance(
    images: NDArray[np.float32], noise_sd: Volume, mask: Mask, shared: Mask | None = None
) -> NoiseCovariance:
    """Covariance of the noise of repetitions, from their differences.

    Where repetitions were interpolated, theirs is mixed with that of the others, as it is in their mean.

    Parameters
    ----------
    images : (R, X, Y, Z) float array
        Aligned repetitions in one intensity scale, R >= 2.
    noise_sd : (X, Y, Z) float array
        Noise SD of one of them.
    mask : (X, Y, Z) bool array
        Brain.
    shared : (X, Y, Z) bool array, optional
        Where all were measured; everywhere by default.
    """
    counted = flat_places(images.mean(axis=0), mask if shared is None else mask & shared)
    contrasts = np.tensordot(helmert(len(images)).astype(np.float32), images, axes=1)
    smooth = MaskedSmoother(mask, _HIGH_PASS_VOXELS)
    noise = np.stack([_without_structure(contrast, smooth) for contrast in contrasts])
    return covariance_of_noise(noise / np.maximum(noise_sd, np.finfo(np.float32).tiny), counted)


def residual_covariance(residuals: NDArray[np.float32], mask: Mask) -> NoiseCovariance:
    """Covariance of what no signal model explains, such as a diffusion series minus its denoised self.

    Parameters
    ----------
    residuals : (N, X, Y, Z) float array
        Any unit; each is taken over its own local SD.
    mask : (X, Y, Z) bool array
        Brain.
    """
    smooth = MaskedSmoother(mask, _HIGH_PASS_VOXELS)
    noise = [_without_structure(residual, smooth) for residual in residuals]
    return covariance_of_noise(np.stack([one / local_sd(one, mask) for one in noise]), mask)


def fine_covariance(image: Volume, flat: Mask, less_flat: Mask) -> NoiseCovariance:
    """Covariance of the noise of one image, from what changes at every voxel across each axis.

    Repeated differences along two axes leave next to no anatomy where tissue is flat. Of noise whose
    covariance is a product over axes they leave a series along the third that is as correlated as that noise.
    What is anatomy all the same grows with the slope of the tissue: from two parts of it the correlation in
    tissue without any slope is extrapolated. Where that is far, or the order of the differences changes much,
    the axis counts as white, and so do all axes of a few slices.

    Parameters
    ----------
    image : (X, Y, Z) float array
        As measured.
    flat, less_flat : (X, Y, Z) bool arrays
        The part of the tissue in which the image changes least, and the next one.

    Returns
    -------
    covariance : NoiseCovariance
        A product over axes.
    """
    box = bounding_box(flat | less_flat, LARGEST_LAG)
    values, parts = image[box].astype(np.float32), (flat[box], less_flat[box])
    rows, errors = zip(*(_noise_along(values, *parts, axis) for axis in range(3)), strict=True)
    return covariance_of_axes(np.stack(rows), max(errors))


def _noise_along(image: Volume, flat: Mask, less_flat: Mask, axis: int) -> tuple[NDArray[np.float64], float]:
    """Correlation of noise 0 to `LARGEST_LAG` voxels apart along an axis, and its standard error."""
    low_order, high_order = _DIFFERENCES
    if image.shape[axis] > 2 * LARGEST_LAG and min(image.shape) >= len(high_order) and less_flat.any():
        with_anatomy, _ = _correlate_fine(image, flat, axis, low_order)
        here, error = _correlate_fine(image, flat, axis, high_order)
        next_to_it, _ = _correlate_fine(image, less_flat, axis, high_order)
        is_noise = abs(with_anatomy[1] - here[1]) < _ANATOMY + 2 * error
        if is_noise and abs(next_to_it[1] - here[1]) < _MOST_ANATOMY + 2 * error:
            beyond = here - _EXTRAPOLATED * (next_to_it - here)
            # Less than was seen, of the same sign.
            return np.clip(beyond, np.minimum(here, 0), np.maximum(here, 0)), 1.5 * error
    return np.eye(1, LARGEST_LAG + 1)[0], 0.0


def _correlate_fine(
    image: Volume, flat: Mask, axis: int, difference: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """The same of differences across the axis."""
    fine, n_alike = image, 1.0
    for other in range(3):
        if other != axis:
            fine = ndimage.correlate1d(fine, difference, axis=other, mode="nearest")
            shared = np.correlate(difference, difference, "full")
            n_alike *= float(((shared / shared.max()) ** 2).sum())
    cap = _CAP * robust_sd(fine[flat])
    along = np.moveaxis(np.where(flat, np.clip(fine, -cap, cap), 0), axis, 0)
    inside = np.moveaxis(flat, axis, 0)
    products = np.zeros(LARGEST_LAG + 1)
    for lag in range(LARGEST_LAG + 1):
        first, second = slice(len(along) - lag), slice(lag, None)
        n_pairs = np.count_nonzero(inside[first] & inside[second])
        products[lag] = np.vdot(along[first], along[second]) / max(n_pairs, 1)
    error = float(np.sqrt(n_alike / np.count_nonzero(flat)))
    return products / max(products[0], np.finfo(float).tiny), error


def flat_places(image: Volume, mask: Mask) -> Mask:
    """The part of the mask in which an image changes least between neighbours.

    Parameters
    ----------
    image : (X, Y, Z) float array
        Average of repetitions.
    mask : (X, Y, Z) bool array

    Returns
    -------
    flat : (X, Y, Z) bool array
    """
    box, flat = bounding_box(mask, _SLOPE_REACH), np.zeros(mask.shape, bool)
    slope = ndimage.gaussian_gradient_magnitude(image[box].astype(np.float32), _SLOPE_VOXELS)
    flat[box] = mask[box] & (slope <= np.quantile(slope[mask[box]], _FLAT_PART))
    return flat


def _without_structure(values: Volume, smooth: MaskedSmoother) -> NDArray[np.float32]:
    """Values less what varies slowly inside the mask."""
    return (values - smooth(values.astype(np.float32))).astype(np.float32)


def _half_of_lags() -> list[tuple[int, int, int]]:
    """Zero, one of each two opposite lags, and the far ones along the axes."""
    near = product(range(-LARGEST_LAG, LARGEST_LAG + 1), repeat=3)
    lags = [lag for lag in near if lag >= (0, 0, 0)]
    for axis in range(3):
        for step in range(LARGEST_LAG + 1, FAR_LAG + 1):
            lags.append(tuple(step if other == axis else 0 for other in range(3)))
    return lags


_LAGS = _half_of_lags()


def _choose_blocks(counted: Mask) -> tuple[int, list[NDArray[np.intp]]]:
    """Edge, and corners of the blocks that hold most, evenly spread among those that hold enough."""
    best: tuple[int, list[NDArray[np.intp]]] = (_BLOCK_VOXELS, [])
    for edge in (_BLOCK_VOXELS, *_SMALLER_BLOCKS):
        grid = [np.arange(0, max(size - edge, 0) + 1, edge) for size in counted.shape]
        corners = np.stack(np.meshgrid(*grid, indexing="ij"), -1).reshape(-1, 3)
        boxes = [tuple(slice(low, low + edge) for low in corner) for corner in corners]
        inside = np.array([np.count_nonzero(counted[box]) for box in boxes])
        enough = corners[inside >= max(200, 0.3 * inside.max())]
        if len(enough) > len(best[1]):
            best = edge, list(enough[:: -(-len(enough) // _MOST_BLOCKS)])
        if len(best[1]) >= _FEWEST_BLOCKS:
            break
    return best


def _from_sums(sums: NDArray[np.float64]) -> NoiseCovariance:
    """Covariance from the sums (B, 2, lags) of products and their numbers, in blocks."""

    def correlate(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        total = rows.sum(axis=0)
        means = total[0] / np.maximum(total[1], 1)
        return means / max(means[_LAGS.index((0, 0, 0))], np.finfo(float).tiny)

    found = correlate(sums)
    error = np.inf
    if len(sums) > 1:
        # Jackknife: what leaving out one block changes.
        without = np.stack([correlate(np.delete(sums, row, axis=0)) for row in range(len(sums))])
        spread = ((without - without.mean(axis=0)) ** 2).sum(axis=0) * (len(sums) - 1) / len(sums)
        error = float(np.sqrt(np.median(spread)))
    edge = 2 * LARGEST_LAG + 1
    correlation, along_axes = np.zeros((edge,) * 3), np.zeros((3, FAR_LAG + 1))
    for lag, value in zip(_LAGS, found, strict=True):
        steps = np.array(lag)
        if np.abs(steps).max() <= LARGEST_LAG:
            correlation[tuple(LARGEST_LAG + steps)] = correlation[tuple(LARGEST_LAG - steps)] = value
        for axis in range(3):
            if np.abs(np.delete(steps, axis)).max() == 0 and steps[axis] >= 0:
                along_axes[axis, steps[axis]] = value
    return NoiseCovariance(correlation, along_axes, error)
