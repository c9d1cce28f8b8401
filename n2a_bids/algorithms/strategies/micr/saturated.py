"""Tells pixels that noise alone saturated from those whose signal did."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_AROUND, _FEW = 5, 0.5
"""Edge of the square around a pixel, and the part of it that may be saturated, too."""
_MOST_ALIKE = 7
"""Pixels that hang together and have one value in all exposures: more are ink, or a bright grain."""
_NOISE_SD = 4.0
"""Noise SDs of the mean by which the pixel may differ from what was estimated of it."""
_ANY = np.zeros((3, 3, 3), bool)
_ANY[..., 1] = True


def saturated_by_noise(
    saturated: NDArray[np.bool_],
    exposures: NDArray[np.float32],
    estimate: NDArray[np.float32],
    noise_sd: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Single saturated pixels whose expected value lies below: what is around them tells it.

    Where signal is near the largest value, noise carries single pixels of some exposures to it. In the mean
    they are bright specks, chosen by their noise.

    Parameters
    ----------
    saturated : (X, Y, Z) bool array
        In any of the exposures.
    exposures : (R, X, Y, Z) float array
    estimate : (X, Y, Z) float array
        Denoised mean.
    noise_sd : (X, Y, Z) float array
        Of one exposure.

    Returns
    -------
    by_noise : (X, Y, Z) bool array
    """
    if not saturated.any():
        return saturated
    share = ndimage.uniform_filter(saturated.astype(np.float32), (_AROUND, _AROUND, 1))
    alike = saturated & (exposures == exposures[0]).all(axis=0)
    labels, _ = ndimage.label(alike, _ANY)
    is_large = np.bincount(labels.ravel()) > _MOST_ALIKE
    is_large[0] = False
    difference = np.abs(exposures.mean(axis=0) - estimate)
    is_noise = difference <= _NOISE_SD * noise_sd / np.sqrt(len(exposures))
    return saturated & (share < _FEW) & ~is_large[labels] & is_noise
