"""The default for diffusion series: local shrinkage, learned filters, chosen by estimated risk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.dwi_risk import choose, compare_candidates
from n2a_bids.algorithms.gradients import B0_THRESHOLD, FEWEST_VOLUMES, angular_groups
from n2a_bids.algorithms.learned_filters import (
    Pair,
    Series,
    checkerboard,
    learn_filters,
    principal_basis,
)
from n2a_bids.algorithms.local_pca import PatchPlan, estimate_noise_sd, shrink_local_pca
from n2a_bids.algorithms.noise import difference_noise_sd
from n2a_bids.algorithms.noise_floor import (
    complex_noise_sd,
    plausible_signal,
    remove_noise_floor,
    rician_variance,
)
from n2a_bids.algorithms.realizations import Context, DenoisedImage, Gradients, Realizations
from n2a_bids.algorithms.risk import zero_sum_direction

_NEGLIGIBLE_GAIN = 0.005
"""Noise alone makes mean intensities differ by this much."""


@dataclass(frozen=True, slots=True)
class DWIAutoConfig:
    """Settings of a recipe."""

    plan: PatchPlan = field(default_factory=PatchPlan)
    strength: float = 0.5
    """Noise added to the input of a recorruption pair, in noise SDs of the average."""
    n_pairs: int = 2
    """Recorruption pairs; each noise goes in with both signs."""
    radius: int = 1
    """Reach of the learned filters, in voxels."""
    max_volumes: int = 64
    """Volumes worked on together: longer series go in groups of neighbouring directions."""
    correct_noise_floor: bool = True
    choose: bool = True
    """Choose by risk; ``False`` always takes the learned filters."""


def config(recipe: str, weights: object = None) -> DWIAutoConfig:
    """Settings of a recipe; there are no pretrained weights for diffusion series."""
    return DWIAutoConfig(
        n_pairs={"fast": 1, "default": 1, "thorough": 2, "faithful": 1}[recipe],
        plan=PatchPlan(stride={"fast": 3, "default": 2, "thorough": 1, "faithful": 2}[recipe]),
    )


def always_filtered(recipe: str, weights: object = None) -> DWIAutoConfig:
    """Settings of a recipe that takes the learned filters whatever the risk says."""
    return replace(config(recipe, weights), choose=False)


@dataclass(frozen=True, slots=True)
class _Average:
    """Mean of the repetitions, cropped to the mask."""

    repetitions: NDArray[np.float32]
    """(R, X, Y, Z, C)."""
    mean: Series
    mask: NDArray[np.bool_]
    noise_sd: NDArray[np.float32]
    """(X, Y, Z) SD of the magnitude of one repetition."""

    @property
    def mean_noise_sd(self) -> NDArray[np.float32]:
        """SD of the noise of the mean."""
        return self.noise_sd / np.float32(np.sqrt(len(self.repetitions)))


@dataclass(frozen=True, slots=True)
class _Group:
    """Volumes denoised together."""

    denoised: Series
    """Before the noise floor is taken away."""
    complex_sd: NDArray[np.float32]
    """(X, Y, Z) SD of the complex noise of one repetition."""
    candidates: list[dict[str, Any]]
    chosen: str


def denoise(realizations: Realizations, config: DWIAutoConfig, context: Context) -> DenoisedImage:
    """Denoise one diffusion series, or the mean of several.

    Parameters
    ----------
    realizations : Realizations
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
    gradients = realizations.gradients
    if gradients is None or gradients.bvals.size < FEWEST_VOLUMES:
        raise ValueError(f"diffusion series need a gradient table of at least {FEWEST_VOLUMES} volumes")
    started = context.clock()
    box = ndimage.find_objects(realizations.mask.astype(np.uint8))[0]
    matched = _with_equal_gain(realizations.data, realizations.mask)
    repetitions, mask = matched[(slice(None), *box)], realizations.mask[box]
    groups = angular_groups(gradients, config.max_volumes)
    mean = matched.mean(axis=0)
    noise_map = np.zeros_like(mean)
    results = []
    for number, volumes in enumerate(groups):
        context.report(f"denoising {len(volumes)} volumes together ({number + 1} of {len(groups)})")
        members = np.ascontiguousarray(repetitions[..., volumes])
        result = _denoise_group(_average(members, mask, config), config, context)
        inside = mean[box]
        inside[..., volumes] = np.where(mask[..., None], result.denoised, inside[..., volumes])
        noise_map[(*box, volumes)] = np.where(mask, result.complex_sd, 0)[..., None]
        results.append(result)
    if config.correct_noise_floor:
        mean[box] = _without_floor(mean[box], noise_map[box], gradients, mask)
    return DenoisedImage(
        data=mean,
        noise_sd=noise_map,
        figures=_figures(results, realizations, noise_map, context.clock() - started)
        | {"noise_floor_removed": config.correct_noise_floor},
    )


def _with_equal_gain(data: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Repetitions in the intensity unit of the first; zero stays zero, as magnitudes need."""
    levels = np.array([series[mask].mean() for series in data])
    gains = levels[0] / levels
    if np.abs(gains - 1).max() < _NEGLIGIBLE_GAIN:
        return data
    return data * gains.astype(np.float32)[:, None, None, None, None]


def _average(repetitions: NDArray[np.float32], mask: NDArray[np.bool_], config: DWIAutoConfig) -> _Average:
    mean = repetitions.mean(axis=0)
    if len(repetitions) == 1:
        noise_sd = estimate_noise_sd(mean, mask, config.plan)
    else:
        # Volumes share the receiver noise: their difference maps are pooled.
        volumes = range(repetitions.shape[-1])
        squares = [difference_noise_sd(repetitions[..., volume], mask) ** 2 for volume in volumes]
        noise_sd = np.sqrt(np.mean(squares, axis=0)).astype(np.float32)
    return _Average(repetitions, mean, mask, noise_sd)


def _denoise_group(average: _Average, config: DWIAutoConfig, context: Context) -> _Group:
    mask, mean_sd = average.mask, average.mean_noise_sd
    pilot = shrink_local_pca(average.mean, mask, mean_sd, config.plan)
    complex_sd = complex_noise_sd(average.noise_sd[mask], pilot[mask])
    sd_map = average.noise_sd.copy()
    sd_map[mask] = complex_sd
    pairs = _recorrupt(average, pilot, sd_map, config, context)
    unit = float(np.median(mean_sd[mask]))
    folds = checkerboard(mask.shape)
    filters = learn_filters(pairs, principal_basis(pilot, mask), unit, mask, folds, radius=config.radius)
    rows = compare_candidates(pairs, filters, mean_sd, mask, folds, config.strength)
    best = choose(rows) if config.choose else "learned filters"
    if best == "mean":
        denoised = average.mean
    elif best == "local PCA":
        denoised = pilot
    else:
        parts = [filters.apply(pair.noisy, pair.pilot, mask) for pair in pairs]
        denoised = np.mean(parts, axis=0, dtype=np.float32)
    return _Group(denoised, sd_map, rows, best)


def _recorrupt(
    average: _Average, pilot: Series, complex_sd: NDArray, config: DWIAutoConfig, context: Context
) -> list[Pair]:
    """Pairs of equal signal and independent noise: from differences of repetitions, or from drawn noise."""
    strength = np.float32(config.strength)
    input_sd = average.mean_noise_sd * np.float32(np.sqrt(1 + config.strength**2))
    pairs = []
    for _ in range(config.n_pairs):
        noise = _independent_noise(average, pilot, complex_sd, context.generator)
        for sign in (1, -1):
            noisy = average.mean + sign * strength * noise
            shrunk = shrink_local_pca(noisy, average.mask, input_sd, config.plan)
            pairs.append(Pair(noisy, shrunk, average.mean - sign / strength * noise))
    return pairs


def _independent_noise(
    average: _Average, pilot: Series, complex_sd: NDArray, generator: torch.Generator
) -> Series:
    n_repetitions = len(average.repetitions)
    if n_repetitions > 1:
        weights = np.full(n_repetitions, 1 / n_repetitions)
        contrast = zero_sum_direction(weights, np.ones(n_repetitions), generator)
        return np.tensordot(contrast.astype(np.float32), average.repetitions, axes=1)
    # The noise of magnitudes is weaker where there is little signal.
    signal = remove_noise_floor(pilot, complex_sd[..., None])
    variance = rician_variance(signal, np.maximum(complex_sd[..., None], 1e-12))
    drawn = torch.randn(pilot.shape, generator=generator).numpy()
    return (np.sqrt(variance) * drawn).astype(np.float32)


def _without_floor(image: Series, noise_sd: Series, gradients: Gradients, mask: NDArray[np.bool_]) -> Series:
    corrected = image.copy()
    signal = remove_noise_floor(image[mask], noise_sd[mask])
    b0 = signal[:, gradients.bvals <= B0_THRESHOLD]
    corrected[mask] = plausible_signal(signal, b0.mean(axis=1) if b0.size else None, gradients.bvals)
    return corrected


def _figures(
    results: Sequence[_Group], realizations: Realizations, noise_map: Series, seconds: float
) -> dict[str, Any]:
    """Record; the largest group speaks for all."""
    main = max(results, key=lambda group: group.denoised.shape[-1])
    texts = {
        "mean": "the plain mean: nothing beat it beyond doubt",
        "local PCA": "shrinkage of local principal components",
        "learned filters": (
            "shrinkage of local principal components, refined by filters learned from the subject"
        ),
    }
    sd = noise_map[realizations.mask].mean(axis=0)
    return {
        "chosen": {
            "name": main.chosen,
            "description": texts[main.chosen],
            "mean_won": main.chosen == "mean",
        },
        "candidates": main.candidates,
        "groups": [{"volumes": int(group.denoised.shape[-1]), "chosen": group.chosen} for group in results],
        "noise_sd_per_volume": [round(float(value), 5) for value in sd],
        "seconds": {"total": round(seconds, 2)},
    }
