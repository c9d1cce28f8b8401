"""Strategy ``auto`` for diffusion: local PCA, learned filters and non-local Bayes, chosen by risk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.diffusion.shells import (
    FEWEST_VOLUMES,
    angular_groups,
    find_shells,
    pool_small_shells,
)
from n2a_bids.algorithms.filters.learned import (
    LearnedFilters,
    Pair,
    Series,
    checkerboard,
    learn_filters,
    principal_basis,
)
from n2a_bids.algorithms.filters.local_pca import PatchPlan, shrink_local_pca
from n2a_bids.algorithms.filters.nonlocal_series import refine_by_nonlocal_bayes
from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.noise.volume_noise import relative_noise_sd, volume_noise_sd
from n2a_bids.algorithms.normalization import with_equal_gain
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.risk.dwi_candidates import choose, compare_candidates
from n2a_bids.algorithms.risk.dwi_groups import (
    FILTERS,
    LOCAL_PCA,
    MEAN,
    NONLOCAL,
    VolumeGroup,
    describe_groups,
    gain_of,
    plain_mean_noise_sd,
)
from n2a_bids.algorithms.risk.dwi_recorruption import Average, acquired_noise, average, recorrupt
from n2a_bids.algorithms.risk.dwi_uncertainty import (
    Doubt,
    expected_shell_errors,
    expected_squared_errors,
    squared_errors_of_mean,
    with_shell_errors,
)
from n2a_bids.algorithms.risk.repetition_weights import weigh_series
from n2a_bids.algorithms.strategies.dwi.companion import DenoisedAlone, SharingPlan, learn_from_companion
from n2a_bids.algorithms.strategies.dwi.noise_floor import find_floor, remove_floor, with_floor

MAX_VOLUMES = 64
"""Denoised together; the time of a patch grows with their cube."""


@dataclass(frozen=True, slots=True)
class DWIAutoConfig:
    """Settings of a recipe of `auto` for diffusion series."""

    plan: PatchPlan = field(default_factory=PatchPlan)
    strength: float = 0.5
    """Noise added to the input of a recorruption pair, in noise SDs of the average."""
    n_pairs: int = 2
    """Recorruption pairs; each noise goes in with both signs."""
    radius: int = 1
    """Reach of the learned filters, in voxels."""
    max_volumes: int = MAX_VOLUMES
    """Volumes worked on together: longer series go in groups of neighbouring directions."""
    keep_noise_floor: bool = False
    """Leave the Rician bias of magnitudes in the result."""
    choose: bool = True
    """Choose by risk; ``False`` always takes the learned filters."""

    @property
    def sharing(self) -> SharingPlan:
        """Plan for two series together: as many volumes of both as otherwise of one."""
        half = self.max_volumes // 2
        return SharingPlan(self.plan, self.strength, self.n_pairs, self.radius, half)


def config(recipe: str, weights: object = None) -> DWIAutoConfig:
    """Settings of a recipe; there are no pretrained weights for diffusion series."""
    return DWIAutoConfig(
        n_pairs={"zero-shot": 1, "fast": 1, "default": 1, "thorough": 2, "faithful": 1}[recipe],
        plan=PatchPlan(
            stride={"zero-shot": 3, "fast": 3, "default": 2, "thorough": 1, "faithful": 2}[recipe]
        ),
    )


def always_filtered(recipe: str, weights: object = None) -> DWIAutoConfig:
    """Settings of a recipe that takes the learned filters whatever the risk says."""
    return replace(config(recipe, weights), choose=False)


def denoise(repetitions: Repetitions, config: DWIAutoConfig, context: Context) -> DenoisedImage:
    """Denoise one diffusion series, or the mean of several, weighted by noise where that is clearly unequal.

    Parameters
    ----------
    repetitions : Repetitions
        With gradients; one repetition or more, of one signal.
    config : DWIAutoConfig
    context : Context

    Returns
    -------
    denoised : DenoisedImage
        Outside the mask the plain mean.

    Raises
    ------
    ValueError
        If gradients are missing, or there are fewer than seven volumes.
    """
    gradients = repetitions.gradients
    if gradients is None or gradients.bvals.size < FEWEST_VOLUMES:
        raise ValueError(f"diffusion series need a gradient table of at least {FEWEST_VOLUMES} volumes")
    started = context.clock()
    box, matched = bounding_box(repetitions.mask), with_equal_gain(repetitions)
    matched_series, mask = matched[(slice(None), *box)], repetitions.mask[box]
    groups = angular_groups(gradients, config.max_volumes)
    mean = matched.mean(axis=0)
    noise_map, per_volume, shells = np.zeros_like(mean), np.zeros(mean.shape[-1]), find_shells(gradients)
    factors = relative_noise_sd(matched_series, mask, pool_small_shells(shells))
    weights = weigh_series(matched_series, mask, config.plan)
    kept, is_real, results = repetitions.noise_kept, repetitions.real_valued, []
    for index, volumes in enumerate(groups):
        context.report(f"denoising {len(volumes)} volumes together ({index + 1} of {len(groups)})")
        # Volumes that share one noise: more of it in one would pass for structure, and stay.
        members = np.ascontiguousarray(matched_series[..., volumes]) / factors[volumes]
        averaged = average(members, mask, config.plan, kept, weights, real_valued=is_real)
        alone, result = _denoise_group(averaged, volumes, shells, factors[volumes], config, context)
        denoised, result = learn_from_companion(alone, result, repetitions, box, config.sharing, context)
        inside = mean[box]
        inside[..., volumes] = np.where(mask[..., None], factors[volumes] * denoised, inside[..., volumes])
        noise_map[(*box, volumes)] = np.where(mask, result.complex_sd, 0)[..., None] * result.factors
        own = (members, denoised, mask, shells[volumes], float(result.complex_sd[mask].mean()))
        per_volume[volumes] = result.factors * volume_noise_sd(*own)
        results.append(result)
    told = None if config.keep_noise_floor else find_floor(matched, repetitions, noise_map, shells)
    floor = None if told is None else told.of_weighted(weights.floor_factor)
    found = expected_shell_errors(mean[box], results, shells, mask, floor)
    remove_floor(mean[box], results, gradients, mask, floor)
    record = describe_groups(results, weights, per_volume, pool_small_shells(shells))
    record = with_floor(replace(record, noise_kept=kept), told)
    denoised = DenoisedImage(
        data=mean,
        noise_sd=noise_map,
        noise_sd_mean=plain_mean_noise_sd(results, weights),
        gain=gain_of(results, weights),
        record=replace(record, seconds={"total": round(context.clock() - started, 2)}),
    )
    return denoised if found is None else with_shell_errors(denoised, found, box)


def _denoise_group(
    averaged: Average,
    volumes: NDArray[np.intp],
    shells: NDArray[np.float64],
    factors: NDArray[np.float32],
    config: DWIAutoConfig,
    context: Context,
) -> tuple[DenoisedAlone, VolumeGroup]:
    """The denoised volumes of a series, their noise floor still in them, and the record."""
    mask, mean_sd = averaged.mask, averaged.mean_noise_sd
    mean_variance = float(np.mean(mean_sd[mask] ** 2) * np.mean(factors**2))
    initial_estimate = shrink_local_pca(averaged.mean, mask, mean_sd, config.plan)
    divided, shells = factors, shells[volumes]
    sd_map, factors = acquired_noise(averaged, initial_estimate, factors)
    settings = {"strength": config.strength, "n_pairs": config.n_pairs, "plan": config.plan}
    pairs = recorrupt(averaged, initial_estimate, sd_map, **settings, generator=context.generator)
    unit = float(np.median(mean_sd[mask]))
    folds = checkerboard(mask.shape)
    basis = principal_basis(initial_estimate, mask)
    filters = learn_filters(pairs, basis, unit, mask, folds, radius=config.radius)
    if not config.choose:
        always = VolumeGroup(volumes, sd_map, factors, (), FILTERS, mean_variance)
        return DenoisedAlone(averaged, pairs, (), _filter(pairs, filters, mask)), always
    estimates = _estimate_pairs(averaged, pairs, filters, folds, config, context)
    rows = compare_candidates(pairs, estimates, mean_sd, mask, config.strength)
    best = choose(rows)
    chosen = estimates.get(best, [pair.noisy for pair in pairs])
    if best == MEAN:
        has_floor = averaged.is_magnitude and not config.keep_noise_floor
        kept = (averaged, initial_estimate, sd_map, shells, divided)
        denoised, errors = averaged.mean, squared_errors_of_mean(*kept, has_floor=has_floor)
    else:
        guide = initial_estimate if best == LOCAL_PCA else _filter(pairs, filters, mask)
        refined, doubt = _refine_with_doubt(averaged, guide, context)
        denoised = refined if best == NONLOCAL else guide
        errors = expected_squared_errors(doubt, pairs, chosen, averaged, shells, divided, config.strength)
    group = VolumeGroup(volumes, sd_map, factors, rows, best, mean_variance, errors)
    return DenoisedAlone(averaged, pairs, chosen, denoised), group


def _refine_with_doubt(
    averaged: Average, guide: NDArray[np.float32], context: Context
) -> tuple[NDArray[np.float32], Doubt]:
    """Non-local Bayes by a guide; where that is not taken, its posterior still tells what is in doubt."""
    variance = np.zeros_like(guide)
    refined = _refine(averaged.mean, guide, averaged.mean_noise_sd, averaged, context, variance)
    return refined, Doubt(variance, refined - guide)


def _filter(pairs: Sequence[Pair], filters: LearnedFilters, mask: NDArray[np.bool_]) -> Series:
    parts = [filters.apply(pair.noisy, pair.initial_estimate, mask) for pair in pairs]
    return np.mean(parts, axis=0, dtype=np.float32)


def _refine(
    noisy: Series,
    guide: Series,
    noise_sd: NDArray,
    averaged: Average,
    context: Context,
    variance: Series | None = None,
) -> Series:
    return refine_by_nonlocal_bayes(
        noisy,
        guide,
        noise_sd,
        averaged.mask,
        covariance=averaged.covariance,
        device=context.device,
        memory_gb=context.memory_gb,
        variance=variance,
    )


def _estimate_pairs(
    averaged: Average,
    pairs: Sequence[Pair],
    filters: LearnedFilters,
    folds: NDArray[np.integer],
    config: DWIAutoConfig,
    context: Context,
) -> dict[str, list[Series]]:
    """What each candidate makes of the inputs of the pairs, for the risk."""
    mask, noise_sd = averaged.mask, averaged.input_noise_sd(config.strength)
    crossed = [filters.apply_crossed(pair.noisy, pair.initial_estimate, mask, folds) for pair in pairs]
    refined = [
        _refine(pair.noisy, guide, noise_sd, averaged, context)
        for pair, guide in zip(pairs, crossed, strict=True)
    ]
    return {LOCAL_PCA: [pair.initial_estimate for pair in pairs], FILTERS: crossed, NONLOCAL: refined}
