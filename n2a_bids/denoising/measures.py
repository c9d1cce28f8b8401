"""Measures on a denoised image: noise map, expected error, sharpness, residual; for report and sidecar."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.shells import FEWEST_VOLUMES
from n2a_bids.algorithms.filters.local_pca import estimate_noise_sd
from n2a_bids.algorithms.micrographs.counting_noise import fit_counting_noise
from n2a_bids.algorithms.micrographs.stabilised import find_void
from n2a_bids.algorithms.noise.estimate import (
    brain_and_head_noise_sd,
    difference_noise_sd,
    single_image_noise_sd,
)
from n2a_bids.algorithms.noise.volume_noise import noise_covariance
from n2a_bids.algorithms.normalization import apply_scales, match_scales, with_equal_gain
from n2a_bids.algorithms.preparation.background import find_noisy_background
from n2a_bids.algorithms.preparation.repetitions import find_head
from n2a_bids.algorithms.quality.gain import decibels
from n2a_bids.algorithms.quality.sharpness import edge_correlation, sharpness, smoothness_fwhm_mm
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions, averaged, spread_channels

Volumes = NDArray[np.float32]

_MOST_CHANNELS = 4
"""Channels that are measured, evenly spread: the metrics of a long DWI series are averages."""

_ROUNDING = 1e-5
"""Of the largest intensity: what single precision leaves of a difference of equal images is smaller."""


def noise_sd_map(repetitions: Repetitions) -> Volumes | None:
    """Noise SD of one repetition, from the differences of all, in the scale of the first.

    That of a single diffusion series comes from the part of its local spectra that is noise alone. Where
    repetitions differ in contrast, so that a difference holds anatomy, it is one level for the whole image,
    from the finest detail of each.

    Returns
    -------
    noise_sd : (X, Y, Z, C) float32 array or None
        None for a single image or a short series.
    """
    n_volumes = repetitions.data.shape[-1]
    if repetitions.n_repetitions == 1 and n_volumes >= FEWEST_VOLUMES:
        series, mask = repetitions.data[0], repetitions.mask
        noise_sd = estimate_noise_sd(series, mask, covariance=noise_covariance(series, mask))
        return np.repeat(noise_sd[..., None], n_volumes, axis=-1)
    if repetitions.n_repetitions < 2:
        return None
    channels = []
    for channel in range(repetitions.data.shape[-1]):
        data = repetitions.data[..., channel]
        scales = match_scales(data, repetitions.mask)
        matched = apply_scales(scales, data)
        if repetitions.same_contrast:
            noise = _difference_map(matched, repetitions.mask, repetitions.shared)
        else:
            noise = _one_level(matched, repetitions.mask)
        channels.append(noise * np.float32(scales[0].gain))
    return np.stack(channels, axis=-1)


def _difference_map(images: Volumes, mask: NDArray[np.bool_], shared: NDArray[np.bool_] | None) -> Volumes:
    """From all voxels where each image was measured: gaps that were filled do not differ.

    Brain, head and air are apart: scalp and eyes differ by more than noise, air of magnitudes is quieter
    (0.65), and of UNIT1 far noisier, which would spread to the brain (of 60 voxels across, by a tenth).
    """
    counted = np.ones(mask.shape, dtype=bool) if shared is None or not shared.any() else shared
    background = find_noisy_background(images, mask)
    if background is not None:
        counted = counted & ~background
    # By its intensity alone, the air of UNIT1 would be part of the head.
    head = find_head(images.mean(axis=0), mask)
    of_head, air = counted & head, counted & ~head
    found = brain_and_head_noise_sd(images, counted & mask, of_head if of_head.any() else counted)
    return np.where(head, found, difference_noise_sd(images, air)) if air.any() else found


def _one_level(images: Volumes, mask: NDArray[np.bool_]) -> Volumes:
    """Root mean square of the noise SD of each image, everywhere."""
    levels = [single_image_noise_sd(image, mask) for image in images]
    return np.full(mask.shape, np.sqrt(np.mean(np.square(levels))), dtype=np.float32)


def find_error_map(
    repetitions: Repetitions, denoised: DenoisedImage, noise_sd: Volumes | None, brain: NDArray[np.bool_]
) -> Volumes | None:
    """Expected error (SD) in the brain, as the strategy tells it; of a mean the noise SD that is left in it.

    Parameters
    ----------
    repetitions : Repetitions
        The input.
    denoised : DenoisedImage
        Result of a strategy that tells its error.
    noise_sd : (X, Y, Z, C) float array or None
        Noise SD of one repetition.
    brain : (X, Y, Z) bool array
        Brain mask, also where not every repetition was measured.

    Returns
    -------
    error_sd : (X, Y, Z, C) float32 array or None
        0 outside of the brain and where nothing was measured; None where nothing tells it.
    """
    counts = repetitions.n_repetitions if repetitions.n_measured is None else repetitions.n_measured
    error_sd = denoised.uncertainty
    if error_sd is None and denoised.record.chosen.name == "mean" and noise_sd is not None:
        error_sd = noise_sd / np.sqrt(np.atleast_1d(averaged(counts))[..., None])
    if error_sd is None:
        return None
    return np.where((brain & (np.asarray(counts) > 0))[..., None], error_sd, 0).astype(np.float32)


def measure(
    repetitions: Repetitions, mean: Volumes, denoised: DenoisedImage, noise_sd: Volumes | None
) -> dict[str, float]:
    """Measure what denoising did.

    Parameters
    ----------
    repetitions : Repetitions
        The input.
    mean : (X, Y, Z, C) float array
        Plain mean, in the unit of the first repetition.
    denoised : DenoisedImage
        Result, in the same unit.
    noise_sd : (X, Y, Z, C) float array or None
        Noise SD of one repetition.

    Returns
    -------
    measured : dict
        By the names of `DenoisingRecord`: errors and gain, and averages of the structure over at most four
        channels. What is not finite or cannot be measured is left out.
    """
    channels = spread_channels(mean.shape[-1], _MOST_CHANNELS)
    rows = [_measure_channel(repetitions, mean, denoised.data, channel) for channel in channels]
    keys = dict.fromkeys(key for row in rows for key in row)
    metrics = {key: float(np.mean([row[key] for row in rows if key in row])) for key in keys}
    return _finite(metrics) | measure_errors(repetitions, denoised, noise_sd)


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {key: _rounded(value) for key, value in metrics.items() if math.isfinite(value)}


def micrograph_noise_map(repetitions: Repetitions) -> Volumes | None:
    """Noise SD of one exposure of a microscope: counting noise at the intensities of the mean.

    Of unequal exposures it is their root mean square, in the unit of the first.

    Returns
    -------
    noise_sd : (X, Y, Z, C) float32 array or None
        None for one exposure.
    """
    if repetitions.n_repetitions < 2:
        return None
    matched, maps = with_equal_gain(repetitions), []
    mean = matched.mean(axis=0, dtype=np.float32)
    for channel in range(mean.shape[-1]):
        counted = repetitions.mask & ~find_void(repetitions.data[..., channel])
        if not counted.any():
            return None
        noise = fit_counting_noise(matched[..., channel], counted)
        maps.append(np.sqrt(np.maximum(noise.variance(mean[..., channel]), 0)).astype(np.float32))
    return np.stack(maps, axis=-1)


def measure_errors(
    repetitions: Repetitions, denoised: DenoisedImage, noise_sd: Volumes | None
) -> dict[str, float]:
    """Noise of the plain mean, and what was gained over it: see `Gain`.

    Parameters and result as of `measure`.
    """
    noise_sd_mean, gain, found = denoised.noise_sd_mean, denoised.gain, {}
    if noise_sd_mean is None and noise_sd is not None:
        # Squares add: only their average is that of the squared errors that denoising is judged by.
        counts = repetitions.n_repetitions if repetitions.n_measured is None else repetitions.n_measured
        variance = np.square(noise_sd, dtype=np.float64) / np.atleast_1d(averaged(counts))[..., None]
        noise_sd_mean = math.sqrt(variance[repetitions.mask].mean())
    if noise_sd_mean is not None:
        found["noise_sd_mean"] = noise_sd_mean
    if gain is not None:
        if repetitions.n_repetitions > 1 or repetitions.gradients is not None:
            found["equivalent_averages"] = gain.equivalent_averages(repetitions.n_repetitions)
        found["gain_of_weighting_db"] = decibels(gain.weighting)
        found["gain_of_denoising_db"] = decibels(gain.denoising)
        if noise_sd_mean is not None:
            found["error_denoised"] = gain.error_denoised(noise_sd_mean)
    return _finite(found)


def _rounded(value: float) -> float:
    """To six decimals, and of what is less than 1 to six digits: units of intensity may be large."""
    return round(value, 6) if abs(value) >= 1 else float(f"{value:.6g}")


def _measure_channel(
    repetitions: Repetitions, mean: Volumes, denoised: Volumes, channel: int
) -> dict[str, float]:
    mask, voxel_size_mm = repetitions.mask, repetitions.voxel_size_mm
    before, after = mean[..., channel], denoised[..., channel]
    residual = before - after
    metrics = {
        "sharpness_mean": sharpness(before, mask, voxel_size_mm, after),
        "sharpness_denoised": sharpness(after, mask, voxel_size_mm, after),
        "residual_edge_correlation": edge_correlation(residual, after, mask),
    }
    if _is_more_than_rounding(residual, before, mask):
        metrics["fwhm_mm_residual"] = smoothness_fwhm_mm(residual, mask, voxel_size_mm)
    if repetitions.n_repetitions > 1 and repetitions.same_contrast:
        data = repetitions.data[:2, ..., channel]
        first, second = (s.apply(image) for s, image in zip(match_scales(data, mask), data))
        metrics["difference_edge_correlation"] = edge_correlation(first - second, after, mask)
        if _is_more_than_rounding(first - second, first, mask):
            metrics["fwhm_mm_difference"] = smoothness_fwhm_mm(first - second, mask, voxel_size_mm)
    return metrics


def _is_more_than_rounding(difference: Volumes, image: Volumes, mask: NDArray[np.bool_]) -> bool:
    """Whether a difference of images varies at all: the smoothness of nothing is not a number."""
    return bool(np.std(difference[mask]) > _ROUNDING * np.abs(image[mask]).max())
