"""Shares a second diffusion series (companion) that is not averaged with the first, where that lowers risk.

The volumes of both are taken for one longer series: what they have in common stands out from the noise in
principal components, filters and patches of both. The other series lends its voxels as measured, the nearest
one for each; where heads or distortion do not fit, or the risk says so, the series is denoised alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.diffusion.shells import angular_groups
from n2a_bids.algorithms.filters.learned import (
    Pair,
    Series,
    checkerboard,
    learn_filters,
    principal_basis,
)
from n2a_bids.algorithms.filters.local_pca import PatchPlan, shrink_local_pca
from n2a_bids.algorithms.filters.nonlocal_series import refine_by_nonlocal_bayes
from n2a_bids.algorithms.normalization import MaskedSmoother
from n2a_bids.algorithms.repetitions import Companion, Repetitions
from n2a_bids.algorithms.risk.dwi_candidates import (
    compare_candidates,
    error_difference,
    is_impossible,
    is_lower_beyond_doubt,
)
from n2a_bids.algorithms.risk.dwi_groups import SHARED, VolumeGroup
from n2a_bids.algorithms.risk.dwi_recorruption import Average, acquired_noise, average, recorrupt
from n2a_bids.algorithms.risk.dwi_uncertainty import with_errors_of_risk

_LEAST_SEEN = 0.5
"""Part of the brain that the other series must cover."""
_WHERE_VOXELS = 3.0
"""SD of the Gaussian over which errors are averaged, to tell where the other series helps."""
_BORDER_VOXELS = 1.5
"""The same of what all volumes have in common, in which borders are seen that do not fit."""
_LEAST_OF_USUAL = 0.5
"""Part of the usual gain there that is still believed to be one."""
_SEAM_VOXELS = 1.5
"""SD over which one estimate passes into the other."""


@dataclass(frozen=True, slots=True)
class DenoisedAlone:
    """Volumes of a series that were denoised together, by themselves."""

    averaged: Average
    pairs: Sequence[Pair]
    estimates: Sequence[Series]
    """What the chosen candidate made of the input of each pair, without the target of the same voxel."""
    denoised: Series

    def of_volumes(self, chosen: NDArray[np.intp]) -> DenoisedAlone:
        """The same of some of the volumes."""
        return DenoisedAlone(
            replace(self.averaged, mean=self.averaged.mean[..., chosen]),
            [
                Pair(one.noisy[..., chosen], one.initial_estimate[..., chosen], one.target[..., chosen])
                for one in self.pairs
            ],
            [estimate[..., chosen] for estimate in self.estimates],
            self.denoised[..., chosen],
        )


@dataclass(frozen=True, slots=True)
class SharingPlan:
    """How volumes of two series are denoised together."""

    plan: PatchPlan
    strength: float
    """Noise added to the input of a recorruption pair, in noise SDs."""
    n_pairs: int
    radius: int
    """Reach of the learned filters, in voxels."""
    max_volumes: int
    """Of each series, worked on together."""


@dataclass(frozen=True, slots=True)
class DenoisedTogether:
    """The volumes of the series alone, denoised with the help of the other one where that pays."""

    estimates: list[Series]
    """What it made of the input of each pair of `DenoisedAlone`."""
    denoised: Series


def learn_from_companion(
    alone: DenoisedAlone,
    result: VolumeGroup,
    repetitions: Repetitions,
    box: tuple[slice, ...],
    settings: SharingPlan,
    context: Context,
) -> tuple[Series, VolumeGroup]:
    """The volumes with what another series of the group tells of them, where that pays; else as they are.

    Parameters
    ----------
    alone : DenoisedAlone
    result : VolumeGroup
        The same, for the record.
    repetitions : Repetitions
        One series; nothing is learned where it has no companion.
    box : tuple of slice
        Part of its grid that was denoised.
    settings : SharingPlan
    context : Context

    Returns
    -------
    denoised : (X, Y, Z, C) array
    result : VolumeGroup
    """
    companion, gradients = repetitions.companion, repetitions.gradients
    if companion is None or gradients is None or not alone.estimates or repetitions.n_repetitions > 1:
        return alone.denoised, result
    context.report("trying what the other series of the group tells")
    denoised, estimates = alone.denoised.copy(), [one.copy() for one in alone.estimates]
    helps = False
    for part in angular_groups(gradients.subset(result.volumes), settings.max_volumes):
        volumes = result.volumes[part]
        other = Companion(np.ascontiguousarray(companion.data[(*box, volumes)]), companion.seen[box])
        together = denoise_together(alone.of_volumes(part), other, settings, context)
        if together is not None:
            helps, denoised[..., part] = True, together.denoised
            for estimate, better in zip(estimates, together.estimates, strict=True):
                estimate[..., part] = better
    averaged = alone.averaged
    known = (averaged.mean_noise_sd, averaged.mask, settings.strength)
    *_, row = compare_candidates(alone.pairs, {SHARED: estimates}, *known)
    if is_impossible((*result.candidates, row)):
        context.report("the other series holds noise of this one: nothing was learned from it")
        return alone.denoised, result
    chosen = SHARED if helps else result.chosen
    shared = replace(result, candidates=(*result.candidates, row), chosen=chosen)
    return denoised, with_errors_of_risk(shared, result)


def denoise_together(
    alone: DenoisedAlone, companion: Companion, settings: SharingPlan, context: Context
) -> DenoisedTogether | None:
    """Denoise volumes of a series and the same volumes of another one as one longer series.

    Parameters
    ----------
    alone : DenoisedAlone
        Of one series, which has no repetitions.
    companion : Companion
        The same volumes.
    settings : SharingPlan
    context : Context

    Returns
    -------
    together : DenoisedTogether or None
        None where the other series covers too little of the brain, or does not help beyond doubt.
    """
    own, mask = alone.averaged, alone.averaged.mask
    inside = mask & companion.seen
    if np.count_nonzero(inside) < _LEAST_SEEN * np.count_nonzero(mask):
        return None
    beside = average(companion.data[None], inside, settings.plan, real_valued=own.real_valued)
    # In units of its own noise: gains of two series may differ.
    ratio = np.median(own.noise_sd[inside]) / max(float(np.median(beside.noise_sd[inside])), 1e-12)
    pairs = _join_pairs(alone, beside, np.float32(ratio), settings, context)
    both = np.concatenate((own.mean, np.float32(ratio) * companion.data), axis=-1)
    first = shrink_local_pca(both, inside, own.mean_noise_sd, settings.plan)
    unit, folds = float(np.median(own.mean_noise_sd[inside])), checkerboard(inside.shape)
    basis = principal_basis(first, inside)
    filters = learn_filters(pairs, basis, unit, inside, folds, radius=settings.radius)
    n_volumes, input_sd = own.mean.shape[-1], own.input_noise_sd(settings.strength)
    how = {"covariance": own.covariance, "device": context.device, "memory_gb": context.memory_gb}
    refined = [
        refine_by_nonlocal_bayes(
            pair.noisy,
            filters.apply_crossed(pair.noisy, pair.initial_estimate, inside, folds),
            input_sd,
            inside,
            **how,
        )[..., :n_volumes]
        for pair in pairs
    ]
    share = _where_it_helps(alone, refined, inside)
    blended = [_blend(share, one, other) for one, other in zip(refined, alone.estimates, strict=True)]
    difference = error_difference(alone.pairs, blended, alone.estimates, own.mean_noise_sd, mask)
    if not is_lower_beyond_doubt(difference, mask):
        return None
    filtered = [filters.apply(pair.noisy, pair.initial_estimate, inside) for pair in pairs]
    guide = np.mean(filtered, axis=0, dtype=np.float32)
    whole = refine_by_nonlocal_bayes(both, guide, own.mean_noise_sd, inside, **how)[..., :n_volumes]
    return DenoisedTogether(blended, _blend(share, whole, alone.denoised))


def _join_pairs(
    alone: DenoisedAlone, beside: Average, ratio: np.float32, settings: SharingPlan, context: Context
) -> list[Pair]:
    """The pairs of the series with volumes of the other one, recorrupted by noise of its own."""
    inside, plan = beside.mask, settings.plan
    first = shrink_local_pca(beside.mean, inside, beside.mean_noise_sd, plan)
    complex_sd, _ = acquired_noise(beside, first, np.ones(first.shape[-1], np.float32))
    its_pairs = recorrupt(
        beside,
        first,
        complex_sd,
        strength=settings.strength,
        n_pairs=settings.n_pairs,
        plan=plan,
        generator=context.generator,
    )
    input_sd = alone.averaged.input_noise_sd(settings.strength)
    joined = []
    for own, its in zip(alone.pairs, its_pairs, strict=True):
        noisy = np.concatenate((own.noisy, ratio * its.noisy), axis=-1)
        target = np.concatenate((own.target, ratio * its.target), axis=-1)
        joined.append(Pair(noisy, shrink_local_pca(noisy, inside, input_sd, plan), target))
    return joined


def _where_it_helps(
    alone: DenoisedAlone, refined: Sequence[Series], inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """(X, Y, Z) weight of the estimate with the other series: 0 where heads or distortion do not fit."""
    noise_sd = alone.averaged.mean_noise_sd
    difference = error_difference(alone.pairs, refined, alone.estimates, noise_sd, inside)
    helps = MaskedSmoother(inside, _WHERE_VOXELS)(difference) < 0
    # Borders that do not fit are wrong in all volumes alike, which is little in each of them.
    pairs = [Pair(*(_over_volumes(part) for part in _parts(pair))) for pair in alone.pairs]
    of_mean = [[_over_volumes(one) for one in estimates] for estimates in (refined, alone.estimates)]
    of_all = MaskedSmoother(inside, _BORDER_VOXELS)(error_difference(pairs, *of_mean, noise_sd, inside))
    helps &= of_all < min(_LEAST_OF_USUAL * float(np.median(of_all[inside])), 0.0)
    weight = MaskedSmoother(inside, _SEAM_VOXELS)((helps & inside).astype(np.float32))
    return np.where(inside, weight, 0).astype(np.float32)


def _parts(pair: Pair) -> tuple[Series, Series, Series]:
    return pair.noisy, pair.initial_estimate, pair.target


def _over_volumes(series: Series) -> Series:
    """(X, Y, Z, 1) sum of the volumes whose noise is that of one of them."""
    return series.sum(axis=-1, keepdims=True) / np.float32(np.sqrt(series.shape[-1]))


def _blend(share: NDArray[np.float32], one: Series, other: Series) -> Series:
    return other + share[..., None] * (one - other)
