"""Denoises diffusion volumes outside of the brain mask too, for the tools that come next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.filters.local_pca import PatchPlan, estimate_noise_sd, shrink_local_pca

_PLAN = PatchPlan(stride=3)


def denoise_surroundings(
    series: NDArray[np.float32],
    denoised: NDArray[np.float32],
    mask: NDArray[np.bool_],
    groups: Sequence[NDArray[np.intp]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Denoise all that lies outside of the brain by local PCA, so that no edge of noise surrounds it.

    The mean of every patch and every component above the law of pure noise stay, so that skin, eyes and
    ghosts do. Nothing is learned and nothing chosen outside of the brain.

    Parameters
    ----------
    series : (X, Y, Z, C) array
        As acquired.
    denoised : (X, Y, Z, C) array
        Denoised in the mask.
    mask : (X, Y, Z) bool array
    groups : sequence of arrays
        Volumes that are denoised together.

    Returns
    -------
    whole : (X, Y, Z, C) float32 array
        `denoised` in the mask. Voxels that are zero in every volume stay zero.
    noise_sd : (X, Y, Z, C) float32 array
        Of the magnitudes outside of the mask, zero inside.
    """
    around = ~mask & series.any(axis=-1)
    whole, noise_sd = denoised.astype(np.float32), np.zeros_like(series)
    if not around.any():
        return whole, noise_sd
    for volumes in groups:
        members = np.ascontiguousarray(series[..., volumes])
        level = estimate_noise_sd(members, around, _PLAN)
        shrunk = shrink_local_pca(members, around, level, _PLAN)
        inside = whole[..., volumes]
        whole[..., volumes] = np.where(around[..., None], shrunk, inside)
        noise_sd[..., volumes] = np.where(around, level, 0)[..., None]
    return whole, noise_sd
