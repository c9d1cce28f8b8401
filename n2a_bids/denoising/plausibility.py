"""Whether a denoised image lies near enough to the mean of the repetitions to be one of the same object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.noise.noncentral_chi import chi_bias
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.enumeration import enumerated
from n2a_bids.errors import DenoisingError
from n2a_bids.strategy_table import StrategyFacts

Volumes = NDArray[np.float32]

_MOST_DISTANCE = 1.5
"""Of the result from the mean, in what noise explains. Of all noise that is taken away it is 1; 0.5 to 0.9 in
real pairs and simulations of T1w and diffusion."""
_MOST_NAMED = 5
_SAMPLES = 100_000
"""Voxels that are compared, evenly spread: Bessel functions of all voxels of a long series take a minute."""


def distance_from_mean(
    repetitions: Repetitions, mean: Volumes, denoised: Volumes, noise_sd: Volumes, n_coils: float = 1.0
) -> NDArray[np.float64]:
    """How far a denoised image lies from the plain mean, over what noise and its floor explain.

    What denoising takes away is noise, so that the power of the residual is that of the noise of the mean at
    most; more of it was signal, or an error.

    Parameters
    ----------
    repetitions : Repetitions
        Of one contrast.
    mean, denoised : (X, Y, Z, C) float32 arrays
        In the unit of the first repetition.
    noise_sd : (X, Y, Z, C) float32 array
        Of one repetition, in that unit.
    n_coils : float
        Effective number of coils of the noise floor.

    Returns
    -------
    distance : (C,) float array
        Root mean square over the mask; 0 of a volume without noise.
    """
    counts = repetitions.n_repetitions if repetitions.n_measured is None else repetitions.n_measured
    counts = np.broadcast_to(counts, repetitions.mask.shape)
    measured = np.flatnonzero(repetitions.mask & (counts > 0))
    place = np.unravel_index(measured[:: max(1, measured.size // _SAMPLES)], counts.shape)
    share = 1 / counts[place].astype(np.float64)
    distances = np.zeros(mean.shape[-1])
    for volume in range(mean.shape[-1]):
        noise, signal = (part[(*place, volume)].astype(np.float64) for part in (noise_sd, denoised))
        residual = mean[(*place, volume)] - signal
        floor = chi_bias(signal, noise, n_coils)
        explained = float((noise**2 * share).mean() + (floor**2).mean())
        distances[volume] = np.sqrt(np.mean(residual**2) / explained) if noise.any() else 0.0
    return distances


def check_distance(
    facts: StrategyFacts,
    repetitions: Repetitions,
    mean: Volumes,
    denoised: Volumes,
    noise_sd: Volumes | None,
    n_coils: float | None = None,
) -> list[str]:
    """Refuse a result that noise does not explain, of the strategy that promises none worse than the mean.

    Parameters
    ----------
    facts : StrategyFacts
        Of the strategy. Others than ``auto`` may learn badly, and were asked for.
    repetitions, mean, denoised, noise_sd, n_coils
        See `distance_from_mean`; one coil where no number is known. Without a noise map, and of several
        contrasts, nothing is known.

    Returns
    -------
    warnings : list of str
        A sentence where another strategy took more than noise.

    Raises
    ------
    DenoisingError
        Names the volumes of a result of ``auto``.
    """
    if noise_sd is None or not repetitions.same_contrast:
        return []
    distance = distance_from_mean(repetitions, mean, denoised, noise_sd, n_coils or 1.0)
    far = np.flatnonzero(distance > _MOST_DISTANCE)
    if not far.size:
        return []
    of_series = f" in volume {enumerated(far, _MOST_NAMED)}" if len(distance) > 1 else ""
    found = (
        f"the result lies {distance.max():.1f} times as far from the mean of the repetitions as their noise "
        f"explains{of_series}"
    )
    if facts.name == "auto":
        raise DenoisingError(
            f"{found} (1 at most was expected), so nothing is written; look at the images for what else "
            "differs, take --strategy mean, and report this with the output of 'n2a-tools doctor'"
        )
    return [f"{found}: it took signal away; look at the residual, and compare with --strategy auto"]
