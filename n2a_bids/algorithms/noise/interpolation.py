"""Part of the noise variance that the interpolation of a diffusion series keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.distortion.field import in_view, intensity_factor, resample

_N_MAPS = 4
"""Maps that stand for all volumes."""


def noise_kept(
    shape: tuple[int, ...],
    voxel_maps: Sequence[NDArray[np.float64]],
    displacement: NDArray,
    axis: int,
    sign: int,
    mask: NDArray[np.bool_],
) -> float:
    """Part of the SD of white noise that :func:`resample` keeps, intensity modulation apart.

    An interpolation averages the noise of neighbours, but not the Rician bias that magnitudes carry:
    that remains as large as the noise was before. Measured on white noise, with a few of the maps.

    Parameters
    ----------
    shape : (3,) ints
        Grid of the image as acquired.
    voxel_maps : sequence of (4, 4) arrays
        Of the volumes that are interpolated; others as in :func:`resample`.
    mask : (X', Y', Z') bool array
        Voxels that count.

    Returns
    -------
    kept : float
        1 where nothing is interpolated.

    Examples
    --------
    >>> half = np.eye(4)
    >>> half[0, 3] = 0.5
    >>> everywhere, still = np.ones((16, 16, 16), bool), np.zeros((16, 16, 16))
    >>> round(noise_kept((16, 16, 16), [np.eye(4)], still, 1, 0, everywhere), 3)
    1.0
    >>> 0.7 < noise_kept((16, 16, 16), [half], still, 1, 0, everywhere) < 0.95
    True
    """
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    variances = []
    for voxel_map in voxel_maps[:: max(1, -(-len(voxel_maps) // _N_MAPS))]:
        values = resample(noise, voxel_map, displacement, axis, sign, signed=True)
        factor = intensity_factor(displacement, axis, sign, voxel_map)
        seen = mask & (factor > 0) & in_view(shape, voxel_map, displacement, axis, sign)
        if seen.any():
            variances.append(float((values[seen] / factor[seen]).var()))
    if not variances:
        return 1.0
    return min(1.0, float(np.sqrt(np.mean(variances) / noise.var())))
