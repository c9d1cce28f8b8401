"""Recorruption of diffusion series: noisy pairs of equal signal and independent noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids.algorithms.averaging import RepetitionWeights, equal_weights
from n2a_bids.algorithms.filters.learned import Pair, Series
from n2a_bids.algorithms.filters.local_pca import PatchPlan, estimate_noise_sd, shrink_local_pca
from n2a_bids.algorithms.noise.covariance import NoiseCovariance, colour_noise, detail_kept
from n2a_bids.algorithms.noise.estimate import high_pass, local_sd
from n2a_bids.algorithms.noise.rician import (
    complex_noise_sd,
    holds_magnitudes,
    remove_noise_floor,
    rician_variance,
)
from n2a_bids.algorithms.noise.volume_noise import noise_covariance


@dataclass(frozen=True, slots=True)
class Average:
    """Mean of the repetitions of a series, and their noise."""

    repetitions: NDArray[np.float32]
    """(R, X, Y, Z, C), one intensity unit."""
    mean: Series
    mask: NDArray[np.bool_]
    """(X, Y, Z) voxels to denoise."""
    noise_sd: NDArray[np.float32]
    """(X, Y, Z) SD of the magnitude of one repetition (root mean square where they are not equally noisy)."""
    contrasts: NDArray[np.float32]
    """(R - 1, X, Y, Z, C) noise independent of that of the mean, as strong as that of one repetition; none of
    one series."""
    weights: RepetitionWeights
    """How the repetitions were averaged."""
    noise_kept: float = 1.0
    """Part of the noise SD that interpolation left; see `Repetitions`."""
    real_valued: bool = False
    """Whether the images are known to be no magnitudes; see `Repetitions`."""
    covariance: NoiseCovariance | None = None
    """Of the noise of neighbours; None for white noise."""

    @property
    def is_magnitude(self) -> bool:
        """False for real-valued images, whose noise is the same whatever the signal."""
        return not self.real_valued and holds_magnitudes(self.repetitions, self.mask)

    @property
    def mean_noise_sd(self) -> NDArray[np.float32]:
        """SD of the noise of the mean."""
        if not self.weights.is_weighted:
            return self.noise_sd / np.float32(np.sqrt(len(self.repetitions)))
        return self.noise_sd * np.float32(self.weights.noise_factor)

    def input_noise_sd(self, strength: float) -> NDArray[np.float32]:
        """SD of the noise of the inputs of recorruption pairs."""
        return self.mean_noise_sd * np.float32(np.sqrt(1 + strength**2))


def average(
    repetitions: NDArray[np.float32],
    mask: NDArray[np.bool_],
    plan: PatchPlan,
    noise_kept: float = 1.0,
    weights: RepetitionWeights | None = None,
    *,
    real_valued: bool = False,
) -> Average:
    """Average repetitions and measure their noise.

    Parameters
    ----------
    repetitions : (R, X, Y, Z, C) array
        One or more, in one intensity unit.
    mask : (X, Y, Z) bool array
    plan : PatchPlan
        Patches that noise is told from structure in.
    noise_kept : float
        Part of the noise SD that interpolation left.
    weights : RepetitionWeights, optional
        Equal ones by default.
    real_valued : bool
        The images are known to be no magnitudes.
    """
    weights = equal_weights(len(repetitions)) if weights is None else weights
    mean = weights.average(repetitions)
    if len(repetitions) == 1:
        covariance = noise_covariance(mean, mask)
        noise_sd = estimate_noise_sd(mean, mask, plan, covariance)
        none = repetitions[:0]
        return Average(repetitions, mean, mask, noise_sd, none, weights, noise_kept, real_valued, covariance)
    contrasts = np.tensordot(weights.contrasts(), repetitions, axes=1)
    covariance = noise_covariance(contrasts, mask)
    noise_sd = _pooled_noise_sd(contrasts, mask, covariance)
    # The second time with the lower noise level that the first has found.
    for _ in range(2):
        # What volumes differ in alike is no noise: misalignment and distortion left over. As noise it
        # would teach the filters to blur what the repetitions agree on, and the risk to approve.
        for contrast in contrasts:
            contrast[mask] -= shrink_local_pca(contrast, mask, noise_sd, plan, centred=False)[mask]
        noise_sd = _pooled_noise_sd(contrasts, mask, covariance)
    return Average(repetitions, mean, mask, noise_sd, contrasts, weights, noise_kept, real_valued, covariance)


def _pooled_noise_sd(
    contrasts: NDArray[np.float32], mask: NDArray[np.bool_], covariance: NoiseCovariance | None
) -> NDArray[np.float32]:
    """(X, Y, Z) noise SD over all volumes: they share the noise of the receiver."""
    volumes = np.moveaxis(contrasts, -1, 1).reshape(-1, *mask.shape)
    squares = [local_sd(high_pass(volume), mask) ** 2 for volume in volumes]
    noise_sd = np.sqrt(np.mean(squares, axis=0)).astype(np.float32)
    return noise_sd if covariance is None else noise_sd / np.float32(detail_kept(covariance))


def acquired_noise(
    averaged: Average, initial_estimate: Series, factors: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Noise of one repetition before interpolation, complex where the images are magnitudes.

    Parameters
    ----------
    averaged : Average
    initial_estimate : (X, Y, Z, C) array
        Denoised mean.
    factors : (C,) array
        Spread of each volume over that of the others.

    Returns
    -------
    noise_sd : (X, Y, Z) array
    factors : (C,) array
        Of the complex noise: noise that stands higher above the signal than that of the other volumes
        varies less as a magnitude.
    """
    mask, noise_sd = averaged.mask, averaged.noise_sd.copy()
    # Means carry the bias of the noise before interpolation.
    spread = noise_sd[mask] / averaged.noise_kept
    if not averaged.is_magnitude:
        noise_sd[mask] = spread
        return noise_sd, factors
    noise_sd[mask] = complex_noise_sd(spread, initial_estimate[mask])
    found = factors.copy()
    for volume in np.flatnonzero(factors > 1):
        own = complex_noise_sd(spread, initial_estimate[mask][:, volume : volume + 1])
        found[volume] *= own.mean() / noise_sd[mask].mean()
    return noise_sd, found


def recorrupt(
    averaged: Average,
    initial_estimate: Series,
    complex_sd: NDArray[np.float32],
    *,
    strength: float,
    n_pairs: int,
    plan: PatchPlan,
    generator: torch.Generator,
) -> list[Pair]:
    """Pairs of equal signal and independent noise: from differences of repetitions, or from drawn noise.

    Parameters
    ----------
    averaged : Average
    initial_estimate : (X, Y, Z, C) array
        Denoised mean; tells how the noise of magnitudes falls with the signal.
    complex_sd : (X, Y, Z) array
        SD of the complex noise of one repetition, before interpolation.
    strength : float
        Noise added to the inputs, in noise SDs of the mean.
    n_pairs : int
        Each noise goes in with both signs, so that twice as many are returned. Two repetitions have only
        one difference, so that one is enough.
    plan : PatchPlan
        Patches of the initial estimates of the pairs.
    generator : torch.Generator
        Advanced.

    References
    ----------
    Pang et al., CVPR 2021 (recorrupted-to-recorrupted).
    """
    input_sd = averaged.input_noise_sd(strength)
    pairs = []
    for _ in range(1 if len(averaged.repetitions) == 2 else n_pairs):
        if len(averaged.repetitions) > 1:
            noise = _difference(averaged, generator)
        else:
            drawn = _drawn_noise(averaged, initial_estimate, complex_sd, generator)
            noise = np.float32(averaged.noise_kept) * drawn
        for sign in (1, -1):
            noisy = averaged.mean + np.float32(sign * strength) * noise
            shrunk = shrink_local_pca(noisy, averaged.mask, input_sd, plan)
            pairs.append(Pair(noisy, shrunk, averaged.mean - np.float32(sign / strength) * noise))
    return pairs


def _difference(averaged: Average, generator: torch.Generator) -> Series:
    """A random combination of the contrasts, as strong as the noise of the mean."""
    direction = torch.randn(len(averaged.contrasts), generator=generator).numpy()
    direction /= np.linalg.norm(direction)
    if averaged.weights.is_weighted:
        direction *= averaged.weights.noise_factor
    else:
        direction /= np.sqrt(len(averaged.repetitions))
    return np.tensordot(direction.astype(np.float32), averaged.contrasts, axes=1)


def _drawn_noise(
    averaged: Average,
    initial_estimate: Series,
    complex_sd: NDArray[np.float32],
    generator: torch.Generator,
) -> Series:
    drawn = torch.randn(initial_estimate.shape, generator=generator).numpy()
    if averaged.covariance is not None:
        drawn = colour_noise(drawn, averaged.covariance)
    if not averaged.is_magnitude:
        return (complex_sd[..., None] * drawn).astype(np.float32)
    # The noise of magnitudes is weaker where there is little signal.
    signal = remove_noise_floor(initial_estimate, complex_sd[..., None])
    variance = rician_variance(signal, np.maximum(complex_sd[..., None], 1e-12))
    return (np.sqrt(variance) * drawn).astype(np.float32)
