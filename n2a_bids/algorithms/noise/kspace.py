"""Finds empty k-space of stored images: zero-filling, partial Fourier, corners that were not acquired."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.special import digamma

from n2a_bids.algorithms.gaussian import gaussian_blur
from n2a_bids.algorithms.normalization import Mask

_WINDOW_VOXELS = 3.0
"""SD of the blur of the mask that the image is windowed with: what lies outside of the brain, and the
magnitudes of the air, which have wider spectra than complex noise, do not reach k-space."""

_RIM_VOXELS = 4
"""Of the mask that do not count: around the brain, ringing below zero is turned over by the magnitude."""

_MARGIN_VOXELS = 6
"""From the ends of the image on that do not count: k-space takes it for periodic."""

_ACROSS = 0.2
"""Largest frequency along the other two axes (cycles per voxel) of the lines whose power is compared: it is
acquired up to a zero-filling by 2.5."""

_LEAST_ACROSS = 0.04
"""The same below which most of the signal is."""

_EMPTY = np.log(10.0)
"""Below the power of white noise of the same SD (natural logarithm): nothing was acquired there, or a filter
took it away."""

_STEP = 1.0
"""Fall of the power (natural logarithm) at a sharp border of what was acquired. Beside one, what the window
spreads of strong signal may lie above `_EMPTY` for a few samples."""

_TREND_SAMPLES = 6
"""On either side of a step, that tell how the power falls without one: signal does, and filters do."""

_FULL = 0.97
"""Part of the stored half axis from which on all of it counts as acquired."""

_CORNER_DROP = np.log(6.0)
"""Fall of the power from the rim of an ellipse to the corners outside of it."""

_HALF_DROP = (0.4, 2.2)
"""Fall of the power where one of two opposite halves is empty (partial Fourier): to a half of that of noise
and to a quarter of that of signal, of which the rest is left in magnitudes; edges ring more there."""

_STANDARD_ERRORS = 5.0
"""By which such a fall must be known."""

_PARTIAL_FOURIER_FRACTIONS = (5 / 8, 6 / 8, 7 / 8)
"""That protocols offer."""

_PARTIAL_FOURIER_TOLERANCE = 0.035

_FEWEST_SAMPLES = 20
"""Of an acquired half axis, below which partial Fourier cannot be told from the fall of the signal."""


@dataclass(frozen=True, slots=True)
class AcquiredKSpace:
    """What was acquired of k-space, along the axes of the image as stored."""

    stored_matrix: tuple[int, int, int]
    matrix: tuple[int, int, int]
    """Voxels that would hold all that was acquired; the stored ones where nothing was zero-filled."""
    partial_fourier: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Part of the lines along each axis that was acquired; 1 for all."""
    elliptical_axes: tuple[int, int] | None = None
    """Plane in which the corners of k-space are empty."""

    @property
    def fraction(self) -> float:
        """Voxels of the acquired matrix over those that are stored."""
        return float(np.prod(self.matrix) / np.prod(self.stored_matrix))


def find_acquired(images: NDArray[np.floating], mask: Mask, noise_sd: float) -> AcquiredKSpace:
    """Find zero-filling, empty corners and partial Fourier in images as they were stored.

    White noise fills k-space evenly, so that places with a tenth of its power or less were not acquired, or
    were filtered away. Where partial Fourier left one of two opposite halves empty the power falls by a step
    to a half or less. An image that was turned or interpolated has lost these marks.

    Parameters
    ----------
    images : (N, X, Y, Z) float array
        One or more images on one grid, not interpolated: runs, or volumes of a series.
    mask : (X, Y, Z) bool array
        Brain, not empty.
    noise_sd : float
        Noise SD of one image in the brain, same unit.
    """
    window = _window(mask)
    power = _log_power(images, window)
    # The mean logarithm of the sum of N exponential variables, whose mean is that of white noise.
    white = np.log(max(noise_sd, 1e-30) ** 2 * float((window**2).sum())) + digamma(len(images))
    power -= np.float32(white)
    shape = mask.shape
    frequencies = tuple(np.abs(fft.fftfreq(size)) for size in shape)
    profiles = [_profile(power, frequencies, axis) for axis in range(3)]
    borders = [_find_border(profile) for profile in profiles]
    matrix = tuple(
        size if border is None else min(size, 2 * border + 2)
        for size, border in zip(shape, borders, strict=True)
    )
    partial = tuple(
        _find_partial_fourier(profile if border is None else profile[:border])
        for profile, border in zip(profiles, borders, strict=True)
    )
    return AcquiredKSpace(
        stored_matrix=shape,
        matrix=matrix,
        partial_fourier=partial,
        elliptical_axes=_find_ellipse(power, frequencies, matrix),
    )


def _window(mask: Mask) -> NDArray[np.float32]:
    """Smooth window over the brain, zero at the ends of the image."""
    margins = [min(_MARGIN_VOXELS, (size - 1) // 4) for size in mask.shape]
    inside = tuple(slice(margin, size - margin) for margin, size in zip(margins, mask.shape))
    kept = np.pad(mask[inside], [(margin, margin) for margin in margins])
    inner = ndimage.binary_erosion(kept, iterations=_RIM_VOXELS)
    chosen = next((one for one in (inner, kept) if one.any()), mask)
    return gaussian_blur(chosen.astype(np.float32), _WINDOW_VOXELS, 4.0)


def _log_power(images: NDArray[np.floating], window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logarithm of the power of k-space of the windowed brain, summed over the images.

    Second differences are what is windowed, so that strong signal of low frequency does not spread into empty
    places; what they do to the power is taken back.
    """
    shape = window.shape
    total = np.zeros(shape, np.float32)
    for image in images:
        values = ndimage.laplace(image.astype(np.float32), mode="wrap") * window
        transformed = fft.fftn(values)
        total += transformed.real**2 + transformed.imag**2
    response = sum(
        (2 - 2 * np.cos(2 * np.pi * frequency))
        for frequency in np.meshgrid(*(fft.fftfreq(size) for size in shape), indexing="ij", sparse=True)
    )
    total /= np.maximum(response, 1e-3).astype(np.float32) ** 2
    return np.log(np.maximum(total, max(float(total.max()), 1e-30) * 1e-14))


def _profile(
    power: NDArray[np.float32], frequencies: tuple[NDArray[np.float64], ...], axis: int
) -> NDArray[np.float64]:
    """Log power along the positive half of an axis, mean over lines that hold little signal."""
    lines = np.ones((1, 1, 1), bool)
    low = np.ones((1, 1, 1), bool)
    for other in range(3):
        if other == axis:
            continue
        shape = [1, 1, 1]
        shape[other] = -1
        along = frequencies[other].reshape(shape)
        lines, low = lines & (along < _ACROSS), low & (along < _LEAST_ACROSS)
    chosen = np.broadcast_to(lines & ~low, np.take(power, [0], axis).shape).squeeze(axis)
    values = np.moveaxis(power, axis, 0)[:, chosen].mean(axis=1, dtype=np.float64)
    half = len(values) // 2
    # Images are real: opposite places have the same power.
    return values[: half + 1]


def _find_border(profile: NDArray[np.float64]) -> int | None:
    """Largest index that was acquired; None where all of them were."""
    size = len(profile) - 1
    last = int(np.flatnonzero(profile > -_EMPTY)[-1]) if (profile > -_EMPTY).any() else size
    if last >= _FULL * size or size < _TREND_SAMPLES:
        return None
    for index in range(size // 4, last + 1):
        beyond = profile[index + 2 : index + 2 + _TREND_SAMPLES]
        empty_beyond = len(beyond) and beyond.mean() < -_EMPTY / 2
        if empty_beyond and _fall_beyond_trend(profile, index, _TREND_SAMPLES)[0] > _STEP:
            falls = -np.diff(profile[index : index + 3])
            return index + int(np.argmax(falls))
    return last


def _find_partial_fourier(profile: NDArray[np.float64]) -> float:
    """Part of the lines that was acquired, from a fall by half within the acquired half axis; 1 for all."""
    size = len(profile) - 1
    found, most = 1.0, 0.0
    if size < _FEWEST_SAMPLES:
        return found
    for index in range(size // 8, size - 2):
        # Full, one half, empty: the border of the full part lies where the other half ends.
        part = (1 + (index + 0.5) / (size + 0.5)) / 2
        fraction = min(_PARTIAL_FOURIER_FRACTIONS, key=lambda one: abs(one - part))
        fall, error = _fall_beyond_trend(profile, index, max(_TREND_SAMPLES, size // 8))
        is_half = _HALF_DROP[0] < fall < _HALF_DROP[1] and fall > _STANDARD_ERRORS * error
        if is_half and abs(part - fraction) < _PARTIAL_FOURIER_TOLERANCE and fall > most:
            found, most = fraction, fall
    return found


def _fall_beyond_trend(profile: NDArray[np.float64], index: int, width: int) -> tuple[float, float]:
    """Fall between a sample and the next, less what straight lines on either side explain; and its error."""
    before, after = profile[max(index - width + 1, 1) : index + 1], profile[index + 1 : index + 1 + width]
    if min(len(before), len(after)) < 3:
        return 0.0, np.inf
    ends, variances = [], []
    for part, end in ((before, len(before) - 0.5), (after, -0.5)):
        steps = np.arange(len(part))
        line = np.polyfit(steps, part, 1)
        scatter = ((part - np.polyval(line, steps)) ** 2).sum() / max(len(part) - 2, 1)
        spread = ((steps - steps.mean()) ** 2).sum()
        ends.append(float(np.polyval(line, end)))
        variances.append(scatter * (1 / len(part) + (end - steps.mean()) ** 2 / spread))
    return ends[0] - ends[1], float(np.sqrt(sum(variances)))


def _find_ellipse(
    power: NDArray[np.float32],
    frequencies: tuple[NDArray[np.float64], ...],
    matrix: tuple[int, int, int],
) -> tuple[int, int] | None:
    """Axes of the plane in which the corners of the acquired matrix are empty."""
    shape = power.shape
    relative = [
        frequency * 2 * size / acquired
        for frequency, size, acquired in zip(frequencies, shape, matrix, strict=True)
    ]
    best, plane = _CORNER_DROP, None
    for first, second in combinations(range(3), 2):
        third = 3 - first - second
        near = frequencies[third] < _ACROSS
        lines = np.moveaxis(power, third, 0)[near].mean(axis=0, dtype=np.float64)
        one, other = relative[first][:, None], relative[second][None]
        inside = (one < 0.92) & (other < 0.92)
        radius = np.hypot(one, other)
        ring, corner = inside & (radius > 0.75) & (radius < 0.92), inside & (radius > 1.06)
        if corner.sum() < 8 or ring.sum() < 8:
            continue
        drop = float(lines[ring].mean() - lines[corner].mean())
        if drop > best and lines[corner].mean() < -_EMPTY / 2:
            best, plane = drop, (first, second)
    return plane
