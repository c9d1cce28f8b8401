"""Segments grey matter, white matter and CSF by intensity, for the image quality metrics.

Not a segmentation to study anatomy with: what counts is that the middle of each tissue is found, in seconds,
on images of any noise, where three tissues have three brightnesses and white matter is the deepest of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.normalization import Mask, MaskedSmoother, Volume

_SPACING_MM = 2.0
"""Of the voxels that are looked at: brightness of tissues needs no more."""
_SHADING_SD_MM = 25.0
_ROUNDS = 12
_SURE = 0.85
"""Probability from which on a voxel counts for its tissue: those of mixed tissue do not."""
_NEIGHBOURS_SD_MM = 1.5
"""Of the blur of the probabilities: noise alone makes no voxel of another tissue."""
_FEWEST = 200
"""Voxels of each tissue, below which nothing is told."""
_DEEPER_MM = 0.5
"""By which white matter must lie deeper than grey matter, on average."""

_STARTS = {"T1w": (0.08, 0.38, 0.8), "T2w": (0.2, 0.62, 0.92)}
"""Quantiles of the brain at which the three tissues are looked for; white matter is the brightest of T1w, the
darkest of T2w."""


@dataclass(frozen=True, slots=True)
class Tissues:
    """Where the three tissues surely are, on some voxels of the grid, and how bright shading makes them."""

    steps: tuple[int, int, int]
    """Every how many voxels of each axis one is looked at, from the first on."""
    csf: Mask
    """(x, y, z) on these voxels."""
    grey: Mask
    white: Mask
    shading: NDArray[np.float32]
    """(x, y, z) factor on the brightness of tissue, about 1."""

    def at(self, image: Volume) -> NDArray[np.float64]:
        """(x, y, z) an image without shading, at the voxels that are looked at."""
        return np.asarray(image[tuple(slice(None, None, step) for step in self.steps)], float) / self.shading


def find_tissues(image: Volume, mask: Mask, voxel_size_mm: tuple[float, float, float]) -> Tissues | None:
    """Tell grey matter, white matter and CSF by their brightness.

    A mixture of three Gaussians and a smooth field of shading are fitted in turn, as Wells et al. (IEEE Trans
    Med Imaging 15, 1996) do.

    Parameters
    ----------
    image : (X, Y, Z) float array
        The better of the images that are compared.
    mask : (X, Y, Z) bool array
        Brain.
    voxel_size_mm : (3,) floats

    Returns
    -------
    tissues : Tissues or None
        None where the image does not hold three tissues of which the brightest (T1w) or the darkest (T2w) is
        the deepest, as white matter is: FLAIR, for one.
    """
    steps = tuple(max(1, round(_SPACING_MM / size)) for size in voxel_size_mm)
    every = tuple(slice(None, None, step) for step in steps)
    spacing_mm = np.array(steps) * voxel_size_mm
    values, inside = np.asarray(image[every], np.float32), mask[every] & (image[every] > 0)
    if inside.sum() < 3 * _FEWEST:
        return None
    depth_mm = ndimage.distance_transform_edt(mask[every], sampling=spacing_mm)
    for contrast in _STARTS:
        probabilities, shading = _fit(values, inside, spacing_mm, contrast)
        blur = _NEIGHBOURS_SD_MM / spacing_mm
        csf, grey, white = ((ndimage.gaussian_filter(one, blur) > _SURE) & inside for one in probabilities)
        if min(part.sum() for part in (csf, grey, white)) < _FEWEST or white.sum() < csf.sum():
            continue
        if depth_mm[white].mean() > depth_mm[grey].mean() + _DEEPER_MM:
            return Tissues(steps, csf, grey, white, shading)
    return None


def _fit(
    values: NDArray[np.float32], inside: Mask, spacing_mm: NDArray[np.float64], contrast: str
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
    """Probability of CSF, grey and white matter in every voxel, and the shading."""
    smooth = MaskedSmoother(inside, float(_SHADING_SD_MM / spacing_mm.mean()))
    samples = values[inside].astype(float)
    low, high = np.percentile(samples, [1, 99])
    means = np.quantile(samples, _STARTS[contrast])
    spreads, shares = np.full(3, max((high - low) / 8, 1e-6 * high)), np.full(3, 1 / 3)
    shading = np.ones(values.shape, np.float32)
    for _ in range(_ROUNDS):
        seen = samples / shading[inside]
        weights = _probabilities(seen, means, spreads, shares)
        totals = weights.sum(axis=1) + 1e-9
        means = weights @ seen / totals
        spreads = np.sqrt((weights * (seen - means[:, None]) ** 2).sum(axis=1) / totals) + 1e-6 * high
        shares = totals / totals.sum()
        ratio = np.zeros(values.shape, np.float32)
        expected = np.maximum(means @ weights, 1e-6 * high)
        ratio[inside] = np.clip(samples / expected, 0.5, 2)
        field = smooth(ratio)
        shading = np.where(field > 0, field, 1).astype(np.float32)
        shading /= np.float32(shading[inside].mean())
    weights = _probabilities(samples / shading[inside], means, spreads, shares)
    rising = np.argsort(means)
    maps = []
    for one in rising if contrast == "T1w" else rising[::-1]:
        probability = np.zeros(values.shape, np.float32)
        probability[inside] = weights[one]
        maps.append(probability)
    return maps, shading


def _probabilities(
    seen: NDArray[np.float64],
    means: NDArray[np.float64],
    spreads: NDArray[np.float64],
    shares: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(3, N) probability of each tissue."""
    distance = (seen - means[:, None]) / spreads[:, None]
    logarithm = np.log(shares / spreads)[:, None] - distance**2 / 2
    likelihood = np.exp(logarithm - logarithm.max(axis=0))
    return likelihood / likelihood.sum(axis=0)
