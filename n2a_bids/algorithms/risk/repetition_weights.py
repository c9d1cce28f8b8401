"""Finds the noise of each repetition from a denoised average, and the weights that follow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.averaging import RepetitionWeights, equal_weights
from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.filters.local_pca import PatchPlan, shrink_local_pca
from n2a_bids.algorithms.nn.blocks import Index
from n2a_bids.algorithms.noise.estimate import high_pass, local_sd, repetition_noise_ratio
from n2a_bids.algorithms.normalization import MaskedSmoother
from n2a_bids.algorithms.preparation.repetitions import Prepared
from n2a_bids.algorithms.repetitions import spread_channels
from n2a_bids.algorithms.risk.candidates import Candidate, estimate_average
from n2a_bids.algorithms.risk.held_out import HeldOut
from n2a_bids.algorithms.threads import map_side_by_side

_ROUNDS = 4
"""Each finds most of what the ones before it left of a difference in noise."""

_ROUNDS_OF_SERIES, _SETTLED = 8, 0.005
"""Most rounds for diffusion series, whose denoised average keeps more of the noise, and the change of weights
that ends them."""

_MOST_VOLUMES = 24
"""Of a diffusion series, evenly spread, that the noise of the series is compared in."""

_BAND_VOXELS = (0.7, 3.0)
"""SDs of the blurs between which the noise of diffusion series is compared: in finer detail a series that was
interpolated has less noise than others, but not where denoising leaves noise."""

_AGREEMENT = 1.1
"""Factor between ratios in the fine detail and in the band, above which interpolation made the difference.
White noise of 1 to 4 gives up to 1.05; a series shifted by half a voxel gives 1.2."""

WEIGHTED_MEAN = "weighted mean"
"""What the mean is called in records where the repetitions do not count alike."""


def weigh_series(
    repetitions: NDArray[np.float32], mask: NDArray[np.bool_], plan: PatchPlan
) -> RepetitionWeights:
    """Inverse-variance weights of diffusion series, where their noise is clearly unequal.

    Parameters
    ----------
    repetitions : (R, X, Y, Z, C) array
        In one intensity unit.
    mask : (X, Y, Z) bool array
    plan : PatchPlan
        Of the local principal components that tell signal from noise.

    Returns
    -------
    weights : RepetitionWeights
        Equal ones where noise is equal within measurement.
    """
    count = len(repetitions)
    found = equal_weights(count)
    if count == 1:
        return found
    some = np.ascontiguousarray(repetitions[..., spread_channels(repetitions.shape[-1], _MOST_VOLUMES)])
    centre = some.mean(axis=0)
    band = _Band(MaskedSmoother(mask, _BAND_VOXELS[0]), MaskedSmoother(mask, _BAND_VOXELS[1]), mask)
    deviations = [np.stack([take(series - centre) for series in some]) for take in (band.detail, band.values)]
    for _ in range(_ROUNDS_OF_SERIES):
        contrast = np.tensordot(found.contrasts()[:1], some, axes=1)[0]
        squares = [local_sd(high_pass(volume), mask) ** 2 for volume in np.moveaxis(contrast, -1, 0)]
        noise_sd = np.sqrt(np.mean(squares, axis=0)) * np.float32(found.noise_factor)
        clean = shrink_local_pca(found.average(some), mask, noise_sd, plan)
        fine, coarse = (
            repetition_noise_ratio(np.stack([take(series - clean) for series in some]), differences)
            for take, differences in zip((band.detail, band.values), deviations, strict=True)
        )
        # Where both agree, the fine detail knows it better.
        ratio = fine if np.abs(np.log(fine / coarse)).max() < np.log(_AGREEMENT) else coarse
        before, found = found, found.for_noise(ratio)
        if np.abs(found.weights - before.weights).max() < _SETTLED:
            break
    return found


@dataclass(frozen=True, slots=True)
class _Band:
    """Band of spatial frequencies inside a mask."""

    fine: MaskedSmoother
    coarse: MaskedSmoother
    mask: NDArray[np.bool_]

    def detail(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """High-passed values of an (X, Y, Z, C) series in the mask, volume after volume."""
        return np.concatenate([high_pass(volume)[self.mask] for volume in np.moveaxis(series, -1, 0)])

    def values(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of an (X, Y, Z, C) series in the band and the mask, volume after volume."""
        smooth = (self.fine(volume) for volume in np.moveaxis(series, -1, 0))
        return np.concatenate([(one - self.coarse(one))[self.mask] for one in smooth])


def weigh_repetitions(
    candidate: Candidate, prepared: Prepared, held_out: HeldOut, context: Context
) -> Prepared:
    """Weigh repetitions by their noise, as a denoised average shows it on some blocks.

    Parameters
    ----------
    candidate : Candidate
        What denoises.
    prepared : Prepared
        At least two repetitions.
    held_out : HeldOut
        Blocks that are looked at.

    Returns
    -------
    weighted : Prepared
        Of equal weights where the noise is equal within measurement.
    """
    for _ in range(_ROUNDS):
        look = partial(_look_at_noise, candidate, prepared, held_out, context)
        residuals, deviations = zip(*map_side_by_side(context.device, look, held_out.boxes))
        ratio = repetition_noise_ratio(np.hstack(residuals), np.hstack(deviations))
        before, weighting = prepared.weighting, prepared.weighting.for_noise(ratio)
        prepared = replace(prepared, weighting=weighting)
        if weighting.weights is before.weights:
            break
    return prepared


def _look_at_noise(
    candidate: Candidate, prepared: Prepared, held_out: HeldOut, context: Context, box: Index
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(R, N) high-passed repetitions of a block minus its denoised average, and minus their plain mean."""
    images, counted = prepared.images[(slice(None), *box)], (prepared.mask & held_out.mask)[box]
    (estimate,) = estimate_average([candidate], prepared, context, box=box)
    residuals, deviations = (
        np.stack([high_pass(image - centre)[counted] for image in images])
        for centre in (estimate, images.mean(axis=0))
    )
    return residuals, deviations
