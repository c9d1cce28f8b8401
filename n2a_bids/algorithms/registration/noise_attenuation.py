"""Corrects the correlation of two images for their noise, so that a noisy head is not taken for another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.gaussian import gaussian_blur
from n2a_bids.algorithms.noise.estimate import single_image_noise_sd
from n2a_bids.algorithms.normalization import Mask, Volume
from n2a_bids.algorithms.transforms import Matrix, inverse

LEAST_SIGNAL = 0.1
"""Least part of the variance that is taken for signal: below, a correlation is divided by noise alone.

With white noise of the SD of the brain's mean, 0.12 to 0.4 of the variance of gyral detail is signal, with
voxels of 1 to 2.7 mm.
"""

_BOX_VOXELS = 64
_WIDEST_VOXELS = 4.0
"""SD of the widest fine kernel that is tried: in 64 voxels, wider ones leave few independent places."""
_TRUNCATE = 3.0
"""As far as Gaussian kernels reach, in SDs; the rim of the box, where they lack voxels, does not count."""


@dataclass(frozen=True, slots=True)
class PairNoise:
    """White noise of two images that are compared on the grid of the first."""

    sds: tuple[float, float]
    """Of a voxel of each, as acquired."""
    voxel_map: Matrix
    """(4, 4) voxels of the first to voxels of the second."""
    centre: NDArray[np.float64]
    """(3,) voxel of the first, in the middle of the brain."""

    @classmethod
    def measure(cls, first: Volume, mask: Mask, second: Volume, voxel_map: Matrix) -> PairNoise:
        """Measure the noise of both in the brain, each on its own grid.

        Parameters
        ----------
        first, second : (X, Y, Z) float arrays
            Not interpolated: see `single_image_noise_sd`, which finds too little in images that were, so that
            less is given back to their correlation.
        mask : (X, Y, Z) bool array
            Brain in the first.
        voxel_map : (4, 4) array
            Voxels of the first to voxels of the second.
        """
        sds = [single_image_noise_sd(first, mask), 0.0]
        other = mask_of_image(mask, voxel_map, second.shape)
        if other.any():
            sds[1] = single_image_noise_sd(second, other)
        return cls((sds[0], sds[1]), voxel_map, np.array(ndimage.center_of_mass(mask)))

    def variances(self, *sds_voxels: float) -> tuple[float, float]:
        """What a filter leaves of both: see `filtered_noise_variance`."""
        first, second = (
            sd**2 * filtered_noise_variance(voxel_map, self.centre, *sds_voxels)
            for sd, voxel_map in zip(self.sds, (np.eye(4), self.voxel_map), strict=True)
        )
        return first, second


def filtered_noise_variance(voxel_map: Matrix, centre: NDArray[np.float64], *sds_voxels: float) -> float:
    """Variance that white noise of variance 1 keeps, interpolated and filtered as the image it is in.

    Noise is drawn (always the same), interpolated trilinearly, and filtered in a box around one point.

    Parameters
    ----------
    voxel_map : (4, 4) array
        Voxels of the grid to voxels of the image.
    centre : (3,) array
        Voxel of the grid, in the middle of the brain.
    *sds_voxels : float
        SD of the Gaussian kernel; of two, the second is subtracted: a band.

    Returns
    -------
    variance : float
        0 to 1.
    """
    # In what is coarser than interpolation, noise is white: its variance goes with one over the volume.
    shrink = max(1.0, min(sds_voxels) / _WIDEST_VOXELS)
    sds_voxels = tuple(sd / shrink for sd in sds_voxels)
    margin = int(np.ceil(_TRUNCATE * max(sds_voxels)))
    size = _BOX_VOXELS + 2 * margin
    matrix = voxel_map[:3, :3]
    # A voxel of the grid: how far it lies between those of the image decides what interpolation takes.
    offset = matrix @ (np.round(centre) - size // 2) + voxel_map[:3, 3]
    corners = np.stack(np.meshgrid(*[(0, size)] * 3), axis=-1).reshape(-1, 3) @ matrix.T + offset
    low = np.floor(corners.min(axis=0)) - 1
    shape = (np.ceil(corners.max(axis=0)) - low + 2).astype(int)
    noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    shown = ndimage.affine_transform(noise, matrix, offset - low, (size,) * 3, order=1)
    kept = [gaussian_blur(shown, sd, _TRUNCATE) for sd in sds_voxels]
    inner = (slice(margin, -margin or None),) * 3
    return float((kept[0] - kept[1] if len(kept) > 1 else kept[0])[inner].var()) / shrink**3


def mask_of_image(mask: Mask, voxel_map: Matrix, shape: tuple[int, ...]) -> Mask:
    """A mask on the grid of the image that a map of voxels leads to, by the nearest voxel.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    voxel_map : (4, 4) array
        Voxels of the mask to voxels of the image.
    shape : tuple of int
        Of the image.
    """
    back = inverse(voxel_map)
    return ndimage.affine_transform(mask.astype(np.uint8), back[:3, :3], back[:3, 3], shape, order=0) > 0


def without_attenuation(
    correlation: float, variances: tuple[float, float], noise_variances: tuple[float, float]
) -> float:
    """Correlation that two images would have without their noise (Spearman, Am J Psychol 1904).

    Parameters
    ----------
    correlation : float
        As measured.
    variances : tuple of two floats
        Of the images.
    noise_variances : tuple of two floats
        The part of each that is noise.

    Returns
    -------
    corrected : float
        -1 to 1. No less than a tenth of a variance is taken for signal, so that what noise alone has in
        common stays small.

    Examples
    --------
    >>> round(without_attenuation(0.4, (2.0, 2.0), (1.0, 1.0)), 6)
    0.8
    """
    signal = [
        max(1 - noise / variance, LEAST_SIGNAL) if variance > 0 else 1.0
        for variance, noise in zip(variances, noise_variances, strict=True)
    ]
    return float(np.clip(correlation / np.sqrt(signal[0] * signal[1]), -1, 1))
