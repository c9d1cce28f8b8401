"""Noise SD of each volume of a diffusion series, and a warning of unusually noisy volumes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import helmert

from n2a_bids.algorithms.filters.learned import principal_basis
from n2a_bids.algorithms.noise.covariance import NoiseCovariance
from n2a_bids.algorithms.noise.covariance_estimates import residual_covariance
from n2a_bids.algorithms.noise.estimate import high_pass, robust_sd, single_image_noise_sd
from n2a_bids.algorithms.normalization import MaskedSmoother

_UNUSUAL = 1.5
"""Noise of a volume over the median of its shell, above which it is named."""
_FEWEST_JUDGED = 3
_MOST_NAMED = 3
_DETAIL_VOXELS = 1.0
"""SD of the blur that is taken off: what directions differ in varies slowly."""
_COMPONENTS_PER_WEAK_ONE = 4
"""One in so many principal components is taken for noise. Of 7 volumes of a tensor at an SNR of 40 the second
weakest holds enough signal for a correlation of neighbours of 0.04; the weakest has 0.015."""
_MOST_COMPONENTS = 12
_LEAST_FACTOR = 1.25
"""Noise of a volume over the median of its shell, from which local PCA would take it for structure: the
edge of the Marchenko-Pastur law for 33 volumes in 125 voxels is 1.23. Estimates of equal noise stay
below 1.07 in some ten thousand voxels."""
_BAND_VOXELS = (0.7, 3.0)
"""SDs of the blurs between which noise is measured besides its finest detail."""


def noise_covariance(series: NDArray[np.float32], mask: NDArray[np.bool_]) -> NoiseCovariance | None:
    """How alike the noise of neighbouring voxels is, from what volumes have least in common.

    Over the whole mask, signals of tissue lie in few principal components of the volumes. The weakest ones
    hold noise and next to no signal, and mixing volumes does not change how alike neighbours are.

    Parameters
    ----------
    series : (X, Y, Z, C) or (R, X, Y, Z, C) array
        One series, or differences of repeated ones.
    mask : (X, Y, Z) bool array

    Returns
    -------
    covariance : NoiseCovariance or None
        None where noise is white, and where nothing was measured.
    """
    several = series.reshape(-1, *mask.shape, series.shape[-1])
    images = []
    for one in several:
        weakest = principal_basis(one, mask)[:, -max(one.shape[-1] // _COMPONENTS_PER_WEAK_ONE, 1) :]
        images += list(np.moveaxis(one @ weakest, -1, 0))
    covariance = residual_covariance(np.stack(images[:_MOST_COMPONENTS]), mask)
    return None if covariance.is_white else covariance


def relative_noise_sd(
    repetitions: NDArray[np.float32], mask: NDArray[np.bool_], shells: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Noise SD of the volumes that are noisier than the others of their shell, as a factor; 1 of all others.

    It is the spread of what repetitions differ in, at the scale of few voxels or in the finest detail,
    whichever stands out less. Motion and dropout of one volume raise the first and hardly the second;
    a volume that was not interpolated, among others that were, stands out by the second alone (1.9 and
    1.0 times). Volumes of one shell have much the same signal, so that their magnitudes vary alike where
    their noise is the same. A single series has factors of 1: what its volumes hold besides what the
    others predict differed by 0.7 to 1.5 within two real series, and noise is only a part of it.

    Parameters
    ----------
    repetitions : (R, X, Y, Z, C) array
    mask : (X, Y, Z) bool array
    shells : (C,) array
        Rounded b-value of each volume, small shells pooled; of fewer than three volumes none is judged.

    Returns
    -------
    factors : (C,) float32 array
        Either 1 or at least 1.25.
    """
    factors = np.ones(len(shells), np.float32)
    if len(repetitions) == 1 or min(mask.shape) == 1:
        return factors
    fine, coarse = (MaskedSmoother(mask, sd) for sd in _BAND_VOXELS)
    combine = helmert(len(repetitions)).astype(np.float32)
    for members in (np.flatnonzero(shells == shell) for shell in np.unique(shells)):
        if members.size < _FEWEST_JUDGED:
            continue
        spread = np.empty((2, members.size))
        for index, volume in enumerate(members):
            contrasts = np.tensordot(combine, repetitions[..., volume], axes=1)
            bands = [smooth - coarse(smooth) for smooth in map(fine, contrasts)]
            spread[0, index] = robust_sd(np.stack(bands)[:, mask])
            spread[1, index] = np.mean([single_image_noise_sd(contrast, mask) for contrast in contrasts])
        ratio = spread / np.maximum(np.median(spread, axis=1, keepdims=True), np.finfo(float).tiny)
        least = ratio.min(axis=0)
        factors[members] = np.where(least >= _LEAST_FACTOR, least, 1)
    return factors


def volume_noise_sd(
    repetitions: NDArray[np.float32],
    denoised: NDArray[np.float32],
    mask: NDArray[np.bool_],
    shells: NDArray[np.floating],
    pooled_sd: float,
) -> NDArray[np.float64]:
    """Noise SD of one repetition in every volume, relative to what all volumes have in common.

    Of several repetitions it is the spread of what they differ in; of one, that of
    the volume less the denoised mean of its shell and less what varies slowly (a
    noisy volume keeps much of its noise when it is denoised). Either misses or adds
    a part that is much the same for all volumes: the median over the volumes is set
    to the SD that was estimated from all of them together. In a single series,
    volumes of a shell with fewer than three get that SD: nothing tells theirs.

    Parameters
    ----------
    repetitions : (R, X, Y, Z, C) array
    denoised : (X, Y, Z, C) array
        Their noise floor still in it.
    mask : (X, Y, Z) bool array
    shells : (C,) array
        Rounded b-value of each volume.
    pooled_sd : float
        Noise SD of one repetition, from all volumes.

    Returns
    -------
    noise_sd : (C,) array
        All equal to `pooled_sd` where there is no noise at all.
    """
    spread, known = np.zeros(len(shells)), np.ones(len(shells), bool)
    if len(repetitions) > 1:
        for volume in range(len(shells)):
            values = repetitions[:, mask, volume]
            spread[volume] = robust_sd(values - values.mean(axis=0))
    else:
        for members in (shells == shell for shell in np.unique(shells)):
            known[members] = members.sum() >= _FEWEST_JUDGED
            expected = denoised[..., members].mean(axis=-1)
            for volume in np.flatnonzero(members):
                residual = np.where(mask, repetitions[0, ..., volume] - expected, 0)
                spread[volume] = robust_sd(high_pass(residual, _DETAIL_VOXELS)[mask])
    common = float(np.median(spread[known])) if known.any() else 0.0
    if common == 0:
        return np.full(spread.size, pooled_sd)
    return np.where(known, pooled_sd * spread / common, pooled_sd)


def noisy_volume_warnings(noise_sd: NDArray[np.float64], shells: NDArray[np.floating]) -> list[str]:
    """One sentence about the volumes whose noise exceeds that of their shell by half or more; usually none.

    Shells of fewer than three volumes are not judged; and magnitudes of little
    signal vary less than others, so that shells are not compared.

    Examples
    --------
    >>> noisy_volume_warnings(np.array([1.0, 1.0, 2.0, 1.0]), np.full(4, 1000))
    ['volume 2 (from 0) is noisier than its shell by a factor of 2.0: look at it before trusting the maps']
    """
    ratio = np.ones(noise_sd.size)
    for members in (shells == shell for shell in np.unique(shells)):
        if members.sum() >= _FEWEST_JUDGED:
            ratio[members] = noise_sd[members] / max(np.median(noise_sd[members]), np.finfo(float).tiny)
    unusual = np.flatnonzero(ratio > _UNUSUAL)
    if not unusual.size:
        return []
    named = ", ".join(str(volume) for volume in unusual[:_MOST_NAMED])
    more = f" and {unusual.size - _MOST_NAMED} more" if unusual.size > _MOST_NAMED else ""
    words = ("volume", "is", "its", "it") if unusual.size == 1 else ("volumes", "are", "their", "them")
    return [
        f"{words[0]} {named}{more} (from 0) {words[1]} noisier than {words[2]} shell by a factor of "
        f"{ratio.max():.1f}: look at {words[3]} before trusting the maps"
    ]
