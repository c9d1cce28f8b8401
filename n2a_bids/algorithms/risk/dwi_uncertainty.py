"""Uncertainty maps of diffusion series: expected error of every voxel, one map for each shell.

The posterior of non-local Bayes says how much noise it keeps where few patches look alike, and where it
disagrees with the step before it, angular contrast is in doubt. How large the squared error is on average is
told by the recorruption pairs without bias: their targets have noise that is independent of the estimate.
Errors are those of one volume, averaged (root mean square) over the volumes of a shell, which have one
contrast and one noise; a map of every volume would hardly say more, and be as large as the series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.filters.learned import Pair, Series
from n2a_bids.algorithms.noise.noncentral_chi import SeriesFloor
from n2a_bids.algorithms.noise.rician import remove_noise_floor
from n2a_bids.algorithms.normalization import MaskedSmoother
from n2a_bids.algorithms.repetitions import DenoisedImage
from n2a_bids.algorithms.risk.dwi_groups import MEAN, VolumeGroup
from n2a_bids.algorithms.risk.dwi_recorruption import Average

Volume = NDArray[np.float32]

_DISAGREEMENT, _DISAGREEMENT_VOXELS = 2.0, 1.0
"""Weight of the squared difference of the last two steps beside the posterior variance, in weighted volumes,
and the SD of the Gaussian over which it is averaged. b0s have fewer like them, and the step before is noisier
there than what follows it: it says nothing of that."""

_B0_FLOOR = 0.02
"""Part of the noise variance that is left in b0s at the least."""

_GROWTH, _B0_GROWTH = 0.65, 1.0
"""Power of the noise variance with which the squared error grows; pairs have more noise. Measured on phantoms
of four series: 0.65 within 2 %, and 0.8 to 1.2 in b0s."""

_DRAWN = 1.08
"""Squared error of the weighted volumes of one series over what pairs with drawn noise find: 1.0 to 1.2 in
phantoms, where the noise level is estimated to 1 to 4 %."""

_USUAL, _B0_USUAL = 1.24, 1.15
"""Squared error over what the estimate shows of it: 1.0 to 1.5 and 0.9 to 1.4 in phantoms made from real
series, 0.5 in one that is smooth everywhere."""

_SPREAD, _B0_SPREAD = 0.3, 0.15
"""SD of these between series, over them."""

_PAIRS_SPREAD, _DRAWN_SPREAD = 0.04, 0.1
"""The same of what pairs find of repetitions and of one series, beside chance."""

_LEAST = 0.1
"""Of the usual error: what pairs of few voxels find may be negative by chance."""

_MOST_RAISED = 1.6
"""By which a squared error grows at most where the noise floor is taken out: what its slope says to be
more lies at the floor, where the least signal that tissue can have bounds the error."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What an estimate of some volumes shows of its own error."""

    posterior_variance: Series
    """(X, Y, Z, C) of non-local Bayes."""
    disagreement: Series
    """(X, Y, Z, C) difference of the last two steps."""


@dataclass(frozen=True, slots=True)
class ShellErrors:
    """Expected errors of a series."""

    shells: tuple[float, ...]
    """b-values of the maps, s/mm2, rising; 0 for b0."""
    error_sd: Series
    """(X, Y, Z, S) root mean square error of one volume of each; 0 outside of the mask."""


def expected_squared_errors(
    doubt: Doubt,
    pairs: Sequence[Pair],
    estimates: Sequence[Series],
    averaged: Average,
    shells: NDArray[np.float64],
    factors: NDArray[np.float32],
    strength: float,
) -> dict[float, Volume]:
    """Expected squared error of the volumes of each shell, the noise floor of magnitudes aside.

    Parameters
    ----------
    doubt : Doubt
        Of the denoised mean.
    pairs : sequence of Pair
    estimates : sequence of (X, Y, Z, C) arrays
        What was made of the input of each pair, without the target of the same voxel.
    averaged : Average
    shells : (C,) array
        Of the volumes, s/mm2; 0 for b0.
    factors : (C,) array
        What the volumes were divided by.
    strength : float
        Noise added to the inputs of the pairs, in noise SDs of the mean.

    Returns
    -------
    squared_errors : dict of float to (X, Y, Z) float32 array
        By shell, in the unit of the images; 0 outside of the mask.
    """
    mask = averaged.mask
    found = {}
    for shell in np.unique(shells):
        members = np.flatnonzero(shells == shell)
        power = np.square(factors[members], dtype=np.float32) / np.float32(members.size)
        error = doubt.posterior_variance[..., members] @ power
        if shell > 0:
            smooth = MaskedSmoother(mask, _DISAGREEMENT_VOXELS)
            disagreement = smooth(np.square(doubt.disagreement[..., members]) @ power)
            error = error + np.float32(_DISAGREEMENT) * disagreement
        else:
            error = error + np.float32(_B0_FLOOR) * averaged.mean_noise_sd**2 * power.sum()
        held_out = _held_out_errors(pairs, estimates, averaged, members, power, strength)
        shown = float(error[mask].mean())
        scale = _mean_error(shown, held_out, averaged, strength, is_b0=shell == 0) / max(shown, 1e-30)
        found[float(shell)] = np.where(mask, np.float32(scale) * error, 0).astype(np.float32)
    return found


def _mean_error(
    shown: float, held_out: NDArray[np.float64], averaged: Average, strength: float, *, is_b0: bool
) -> float:
    """Mean squared error of a shell: the most probable one between what is usual and what the pairs found."""
    usual = shown * (_B0_USUAL if is_b0 else _USUAL)
    alone = len(averaged.repetitions) == 1
    growth = (1 + strength**2) ** (_B0_GROWTH if is_b0 else _GROWTH)
    factor = (_DRAWN if alone and not is_b0 else 1.0) / growth
    known = factor * float(held_out.mean())
    chance = factor * float(held_out.std()) / np.sqrt(held_out.size) / max(usual, 1e-30)
    variance = chance**2 + (_DRAWN_SPREAD if alone else _PAIRS_SPREAD) ** 2
    weight = (spread := _B0_SPREAD if is_b0 else _SPREAD) ** 2 / (spread**2 + variance)
    return max(usual + weight * (known - usual), _LEAST * usual)


def _held_out_errors(
    pairs: Sequence[Pair],
    estimates: Sequence[Series],
    averaged: Average,
    members: NDArray[np.intp],
    power: NDArray[np.float32],
    strength: float,
) -> NDArray[np.float64]:
    """Squared error of what was made of the inputs of pairs, in each voxel of the mask.

    Without bias, though with much noise: see `held_out_squared_errors`.
    """
    mask = averaged.mask
    total = np.zeros(np.count_nonzero(mask))
    for pair, estimate in zip(pairs, estimates, strict=True):
        for member, weight in zip(members, power, strict=True):
            mean = averaged.mean[mask, member].astype(np.float64)
            distance, known = estimate[mask, member] - mean, mean - pair.target[mask, member]
            total += float(weight) * (distance**2 + 2 * distance * known - strength**2 * known**2)
    return total / len(pairs)


def squared_errors_of_mean(
    averaged: Average,
    initial_estimate: Series,
    complex_sd: Volume,
    shells: NDArray[np.float64],
    factors: NDArray[np.float32],
    *,
    has_floor: bool,
) -> dict[float, Volume]:
    """The same where the mean itself was kept: its noise, and the noise floor that was left in it.

    Parameters
    ----------
    averaged : Average
    initial_estimate : (X, Y, Z, C) array
        Denoised mean, from which the floor is told.
    complex_sd : (X, Y, Z) array
        SD of the complex noise of one repetition.
    shells, factors
        As of `expected_squared_errors`.
    has_floor : bool
        The floor counts as an error.

    Returns
    -------
    squared_errors : dict of float to (X, Y, Z) float32 array
    """
    mask, noise_variance, found = averaged.mask, averaged.mean_noise_sd**2, {}
    for shell in np.unique(shells):
        members = np.flatnonzero(shells == shell)
        total = np.zeros(mask.shape, np.float32)
        for member in members:
            error = noise_variance[mask]
            if has_floor:
                mean = initial_estimate[mask, member]
                error = error + (mean - remove_noise_floor(mean, complex_sd[mask])) ** 2
            total[mask] += np.float32(factors[member] ** 2 / members.size) * error
        found[float(shell)] = total
    return found


def with_errors_of_risk(group: VolumeGroup, known: VolumeGroup) -> VolumeGroup:
    """A group whose expected errors are those of another result of it, in proportion to the risks of both.

    Parameters
    ----------
    group : VolumeGroup
        Another result for the same volumes, with its risk.
    known : VolumeGroup
        With expected errors.
    """
    if known.squared_errors is None or not group.squared_error or not known.squared_error:
        return group
    ratio = np.float32(group.squared_error / known.squared_error)
    scaled = {shell: ratio * squared for shell, squared in known.squared_errors.items()}
    return replace(group, squared_errors=scaled)


def expected_shell_errors(
    image: Series,
    groups: Sequence[VolumeGroup],
    shells: NDArray[np.float64],
    mask: NDArray[np.bool_],
    floor: SeriesFloor | None,
) -> ShellErrors | None:
    """Expected error of one volume of each shell, from those of the groups of volumes.

    Parameters
    ----------
    image : (X, Y, Z, C) array
        Denoised, its noise floor still in it.
    groups : sequence of VolumeGroup
    shells : (C,) array
        s/mm2; 0 for b0.
    mask : (X, Y, Z) bool array
    floor : SeriesFloor or None
        That will be taken out: where there is little signal, that makes errors larger. None where it stays.

    Returns
    -------
    errors : ShellErrors or None
        None where a group tells none.
    """
    if any(group.squared_errors is None for group in groups):
        return None
    names = np.unique(shells)
    total = np.zeros((*mask.shape, names.size), np.float32)
    for group in groups:
        for shell, squared in group.squared_errors.items():
            members = group.volumes[shells[group.volumes] == shell]
            if floor is not None and group.chosen != MEAN:
                squared = _through_floor(squared, image, group, members, mask, floor)
            total[..., np.searchsorted(names, shell)] += np.float32(members.size) * squared
    counts = np.array([np.count_nonzero(shells == name) for name in names], np.float32)
    return ShellErrors(tuple(names.tolist()), np.sqrt(total / counts))


def _through_floor(
    squared: Volume,
    image: Series,
    group: VolumeGroup,
    members: NDArray[np.intp],
    mask: NDArray[np.bool_],
    floor: SeriesFloor,
) -> Volume:
    """Squared error after the floor is taken out: errors grow by the slope of that over their own width."""
    error_sd = np.maximum(np.sqrt(squared[mask]), 1e-30)
    noise_sd = group.complex_sd[mask]
    growth = np.zeros_like(error_sd)
    for member in members:
        own = noise_sd * group.factors[np.searchsorted(group.volumes, member)]
        values = image[mask, member]
        above, below = (floor.remove(values + sign * error_sd, own) for sign in (1, -1))
        growth += ((above - below) / (2 * error_sd)) ** 2
    raised = squared.copy()
    # Below the floor the slope is cut off with the signal, and the error is not.
    raised[mask] *= np.clip(growth / len(members), 1, _MOST_RAISED).astype(np.float32)
    return raised


def with_shell_errors(denoised: DenoisedImage, found: ShellErrors, box: tuple[slice, ...]) -> DenoisedImage:
    """The denoised series with its expected errors, which are those of a box of the grid."""
    whole = np.zeros((*denoised.data.shape[:3], len(found.shells)), np.float32)
    whole[box] = found.error_sd
    record = replace(denoised.record, uncertainty_shells=found.shells)
    return replace(denoised, uncertainty=whole, record=record)
