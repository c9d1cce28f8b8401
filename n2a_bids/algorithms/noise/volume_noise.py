"""Noise SD of the volumes of a diffusion series and of its darkest voxels; names unusually noisy volumes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import helmert

from n2a_bids.algorithms.filters.learned import principal_basis
from n2a_bids.algorithms.noise.covariance import NoiseCovariance
from n2a_bids.algorithms.noise.covariance_estimates import residual_covariance
from n2a_bids.algorithms.noise.estimate import high_pass, robust_sd, single_image_noise_sd, typical_variance
from n2a_bids.algorithms.noise.rician import noise_sd_of_moments
from n2a_bids.algorithms.normalization import MaskedSmoother
from n2a_bids.enumeration import enumerated

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
_FEWEST_DARK_VOLUMES = 8
"""Of one shell, over all repetitions: half of them choose the voxels, and the other half measures."""
_PART_OF_BRAIN, _FEWEST_VOXELS = 0.005, 100
"""Voxels that are looked at: the ventricles alone are one or two hundredths of a brain."""
_CLEARLY_LESS = 0.9
"""Noise of the dark voxels over that of the brain, above which the two count as equal: 24 simulated series of
even noise show 0.95 and more of the true one."""


def noise_covariance(series: NDArray[np.float32], mask: NDArray[np.bool_]) -> NoiseCovariance | None:
    """How alike the noise of neighbouring voxels is, where it is not white.

    Parameters
    ----------
    series, mask
        As in `weakest_components_covariance`.

    Returns
    -------
    covariance : NoiseCovariance or None
        None where noise is white, and where nothing was measured.
    """
    covariance = weakest_components_covariance(series, mask)
    return None if covariance.is_white else covariance


def weakest_components_covariance(series: NDArray[np.float32], mask: NDArray[np.bool_]) -> NoiseCovariance:
    """How alike the noise of neighbouring voxels is, from what volumes have least in common.

    Over the whole mask, signals of tissue lie in few principal components of the volumes, and so does what
    two runs differ in besides their noise: borders that moved, shading, pulsation. The weakest components
    hold noise and next to none of that, and mixing volumes does not change how alike neighbours are. Between
    slices of two-dimensional scans, which share no noise, differences of ten real volumes had correlations
    of 0.1 to 0.3, the weakest components of the same 0.02 to 0.13.

    Parameters
    ----------
    series : (X, Y, Z, C) or (R, X, Y, Z, C) array
        One series, or differences of repeated ones.
    mask : (X, Y, Z) bool array
    """
    several = series.reshape(-1, *mask.shape, series.shape[-1])
    images = []
    for one in several:
        weakest = principal_basis(one, mask)[:, -max(one.shape[-1] // _COMPONENTS_PER_WEAK_ONE, 1) :]
        images += list(np.moveaxis(one @ weakest, -1, 0))
    return residual_covariance(np.stack(images[:_MOST_COMPONENTS]), mask)


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
    words = ("volume", "is", "its", "it") if unusual.size == 1 else ("volumes", "are", "their", "them")
    return [
        f"{words[0]} {enumerated(unusual, _MOST_NAMED)} (from 0) {words[1]} noisier than {words[2]} shell by "
        f"a factor of {ratio.max():.1f}: look at {words[3]} before trusting the maps"
    ]


def dark_noise_ratio(
    series: NDArray[np.float32],
    mask: NDArray[np.bool_],
    noise_sd: NDArray[np.floating],
    shells: NDArray[np.floating],
    noise_kept: float = 1.0,
) -> float:
    """Noise SD of magnitudes where there is next to no signal, over the SD that was told from the brain.

    What fluctuates in the brain grows with its signal, too: pulsation, ghosts, motion left over. That is
    noise, but the floor comes from the receiver's alone, which is what is left in strongly weighted CSF and
    in signal voids. Half of the volumes chooses the darkest voxels; the other half tells mean and variance of
    the magnitudes there, so that nothing is chosen by its own noise.

    Parameters
    ----------
    series : (R, X, Y, Z, C) array
        Magnitudes as acquired or resampled, not denoised.
    mask : (X, Y, Z) bool array
        Brain.
    noise_sd : (X, Y, Z, C) array
        SD of the complex noise, as told from the whole brain.
    shells : (C,) array
        Rounded b-value of each volume; the highest with enough volumes is looked at.
    noise_kept : float
        Part of the noise SD that interpolation left in the series.

    Returns
    -------
    ratio : float
        Below 0.9 where dark voxels are clearly quieter, 1 where they are not or tell nothing.

    References
    ----------
    Koay and Basser, J Magn Reson 179 (2006): noise from mean and variance of magnitudes.
    """
    strongest = strongest_shell(shells, len(series))
    if strongest is None:
        return 1.0
    told = np.maximum(noise_sd[mask][:, strongest], np.finfo(np.float32).tiny)
    values = np.concatenate([one[mask][:, strongest] / told for one in series], axis=1)
    halves = values[:, ::2], values[:, 1::2]
    # Voxels that were filled hold no noise.
    measured = np.logical_and(*(np.ptp(half, axis=1) > 0 for half in halves))
    halves = halves[0][measured], halves[1][measured]
    n_voxels = max(round(_PART_OF_BRAIN * np.count_nonzero(measured)), _FEWEST_VOXELS)
    if np.count_nonzero(measured) <= n_voxels:
        return 1.0
    found = [_noise_of_darkest(*pair, n_voxels, noise_kept) for pair in (halves, halves[::-1])]
    ratio = float(np.sqrt(np.mean(np.square(found))))
    return ratio if ratio < _CLEARLY_LESS else 1.0


def strongest_shell(shells: NDArray[np.floating], n_repetitions: int) -> NDArray[np.intp] | None:
    """Volumes of the highest b-value that has enough of them to tell noise by; None where none has."""
    for shell in sorted(np.unique(shells[shells > 0]), reverse=True):
        members = np.flatnonzero(shells == shell)
        if n_repetitions * members.size >= _FEWEST_DARK_VOLUMES:
            return members
    return None


def _noise_of_darkest(
    choosing: NDArray[np.floating], measuring: NDArray[np.floating], n_voxels: int, noise_kept: float
) -> float:
    darkest = np.argpartition(choosing.mean(axis=1), n_voxels)[:n_voxels]
    values = measuring[darkest].astype(np.float64)
    # Some of the darkest voxels hold signal that depends on direction.
    return noise_sd_of_moments(float(values.mean()), typical_variance(values) / noise_kept**2)
