"""Noise, expected error and gain in the regions of an atlas."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.noise.estimate import capped_variance, high_pass, robust_sd
from n2a_bids.algorithms.normalization import match_scales
from n2a_bids.algorithms.quality.gain import decibels
from n2a_bids.algorithms.repetitions import averaged
from n2a_bids.record.regions import FEWEST_VOXELS, RegionRecord

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Regions:
    """The regions of an atlas on a grid."""

    labels: NDArray[np.integer]
    """(X, Y, Z) number of the region of each voxel, 0 for none."""
    measured: Mask
    """(X, Y, Z) voxels of the brain where something was measured: all else does not count."""
    names: Mapping[int, str]
    """All regions of the atlas by number, in the order of the rows."""

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """(N,) of all regions, in the order of the rows."""
        return np.fromiter(self.names, dtype=np.int64)

    @cached_property
    def rows(self) -> NDArray[np.intp]:
        """(X, Y, Z) row of the region of each voxel, -1 for none."""
        order = np.argsort(self.numbers)
        found = np.searchsorted(self.numbers[order], self.labels).clip(max=len(order) - 1)
        return np.where(self.numbers[order][found] == self.labels, order[found], -1)

    def counts(self, where: Mask) -> NDArray[np.intp]:
        """(N,) voxels of each region."""
        return np.bincount(self.rows[where & (self.rows >= 0)], minlength=len(self.names))

    def means(self, volume: NDArray[np.floating], where: Mask) -> NDArray[np.float64]:
        """(N,) mean over each region; NaN where it has no voxel."""
        inside = where & (self.rows >= 0)
        sums = np.bincount(self.rows[inside], volume[inside].astype(np.float64), minlength=len(self.names))
        counts = self.counts(where)
        return sums / np.where(counts > 0, counts, np.nan)


@dataclass(frozen=True, slots=True)
class RegionMaps:
    """What is known in every voxel of an image, or of the volumes of one shell of a series."""

    signal: Volume
    """(X, Y, Z) denoised, mean over the volumes; so are the next, as variances."""
    noise_variance: Volume
    """Of one repetition."""
    mean_variance: Volume
    """Noise of the plain mean."""
    squared_error: Volume | None
    """Expected, of the denoised image; None where nothing tells it."""
    shell: float | None = None
    """b-value, s/mm2."""


def variance_of_mean(
    noise_variance: Volume, n_measured: NDArray[np.integer] | int, mask: Mask, noise_sd_mean: float | None
) -> Volume:
    """Noise variance of the plain mean in every voxel.

    Parameters
    ----------
    noise_variance : (X, Y, Z) or (X, Y, Z, C) array
        Of one repetition.
    n_measured : (X, Y, Z) int array or int
        Repetitions that were measured there.
    mask : (X, Y, Z) bool array
        Brain.
    noise_sd_mean : float or None
        Noise SD of the plain mean as the record has it, root mean square over the brain and all volumes: maps
        of diffusion series hold the noise before interpolation, which left less of it.

    Returns
    -------
    variance : array
        As `noise_variance`; its mean, where all repetitions were measured, is the square of `noise_sd_mean`.
    """
    counts = np.atleast_1d(averaged(n_measured))
    variance = noise_variance / (counts if noise_variance.ndim == 3 else counts[..., None])
    whole = mask & (n_measured == np.max(n_measured))
    average = float(variance[whole].mean(dtype=np.float64)) if whole.any() else 0.0
    if noise_sd_mean is None or average <= 0:
        return variance
    return variance * np.float32(noise_sd_mean**2 / average)


def noise_of_repetitions(regions: Regions, images: Volume, mask: Mask, measured: Mask) -> NDArray[np.float64]:
    """Noise variance of one repetition in each region, from the differences of all within it.

    A noise map is smooth over some voxels, so that a small region has the noise of what lies around it there;
    here no voxel but its own counts.

    Parameters
    ----------
    images : (R, X, Y, Z) float array
        Aligned repetitions of one contrast, any gain; R >= 2.
    mask : (X, Y, Z) bool array
        Brain, where gains are compared.
    measured : (X, Y, Z) bool array
        Voxels where all repetitions were.

    Returns
    -------
    variance : (N,) array
        In the unit of the first repetition, mean over the repetitions; NaN in regions without voxels that all
        repetitions measured.
    """
    counts = regions.counts(measured)
    inside = measured & (regions.rows >= 0)
    rows, total = regions.rows[inside], np.zeros(len(counts))
    if not rows.size:
        return np.full(len(counts), np.nan)

    def over_region(values: Volume) -> NDArray[np.float64]:
        return np.bincount(rows, values, len(counts)) / np.where(counts > 0, counts, np.nan)

    scales = match_scales(images, mask)
    mean = sum(scale.apply(one) for scale, one in zip(scales, images, strict=True)) / np.float32(len(images))
    for scale, one in zip(scales, images, strict=True):
        values = high_pass(scale.apply(one) - mean)
        level = robust_sd(values[measured]) ** 2
        total += over_region(
            capped_variance(values[inside], level, lambda squares: over_region(squares)[rows])
        )
    return total / (len(images) - 1) * scales[0].gain ** 2


def measure_regions(
    regions: Regions,
    maps: RegionMaps,
    *,
    noise_variance: NDArray[np.float64] | None = None,
    gain_of_mean_db: float | None = None,
) -> Iterator[RegionRecord]:
    """What is known of each region.

    Parameters
    ----------
    noise_variance : (N,) array, optional
        Of one repetition in each region (`noise_of_repetitions`), which is better known than by the map; NaN
        where it is not, and the map tells it.
    gain_of_mean_db : float, optional
        Where a mean was kept: its gain, which is one for all regions.

    Yields
    ------
    row : RegionRecord
        One for each name, also where the region has no voxel.
    """
    where = regions.measured
    placed, counts = regions.counts(np.ones_like(where)), regions.counts(where)
    signal, noise, of_mean = (
        regions.means(one, where) for one in (maps.signal, maps.noise_variance, maps.mean_variance)
    )
    error = (
        np.full(len(counts), np.nan)
        if maps.squared_error is None
        else regions.means(maps.squared_error, where)
    )
    if noise_variance is not None:
        is_known = np.isfinite(noise_variance) & (noise > 0)
        ratio = np.divide(noise_variance, noise, where=is_known, out=np.ones_like(noise))
        of_mean, noise = of_mean * ratio, noise * ratio
    gains = [_gain(*pair) if gain_of_mean_db is None else gain_of_mean_db for pair in zip(of_mean, error)]
    for row, (number, name) in enumerate(regions.names.items()):
        yield RegionRecord(
            index=number,
            name=name,
            shell=maps.shell,
            n_voxels=int(counts[row]),
            fraction_in_brain=round(float(counts[row] / placed[row]), 4) if placed[row] else None,
            few_voxels=bool(counts[row] < FEWEST_VOXELS),
            gain_db=gains[row] if counts[row] else None,
            **_levels(float(signal[row]), float(noise[row]), float(of_mean[row]), float(error[row])),
        )


def _gain(variance: float, squared_error: float) -> float | None:
    return decibels(variance / squared_error) if variance > 0 and squared_error > 0 else None


def _levels(signal: float, noise: float, of_mean: float, error: float) -> dict[str, float | None]:
    """Signal, root mean squares and SNR of one region; None for what is not known."""
    noise_sd, mean_sd, error_sd = (
        math.sqrt(power) if power > 0 and math.isfinite(power) else None for power in (noise, of_mean, error)
    )
    found = {
        "signal": signal if math.isfinite(signal) else None,
        "noise_sd": noise_sd,
        "noise_sd_mean": mean_sd,
        "expected_error": error_sd,
        "snr": signal / noise_sd if noise_sd else None,
        "snr_mean": signal / mean_sd if mean_sd else None,
        "snr_denoised": signal / error_sd if error_sd else None,
    }
    return {name: None if value is None else float(f"{value:.6g}") for name, value in found.items()}
