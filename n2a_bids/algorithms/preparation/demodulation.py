"""Demodulates complex images: estimates the smooth phase, takes it out, and keeps the real part.

The noise of a magnitude is Rician and has a floor; that of the real part is Gaussian and has none, so that it
averages out. What is smooth in the phase (fields, coils, motion of the head during the diffusion weighting)
says nothing of the tissue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from n2a_bids.algorithms.noise.estimate import finest_detail

Complex = NDArray[np.complex64]

WIDTHS_VOXELS = (1.5, 2.5, 4.0)
"""SDs of the Gaussian low-pass that are tried: the widest that loses no signal leaves least noise in the
phase."""
_OWN_REACH = 1
"""Voxels around each one that its own phase is not estimated from, so that its noise is not in it."""
_TRUNCATE = 3.0
_WORTHWHILE = 1e-3
"""Part of the signal by which a narrower low-pass must do better."""
_LOOKED_INTO = 0.005
"""Part of the signal's energy that is lost: from here on other axes are tried. Smooth phases of heads leave
0.003 at most, steps of 0.4 radians from slice to slice 0.012."""
_CLEARLY_MORE = 0.01
"""Part of the signal that other axes must keep. Where the phase is smooth all around, a plane keeps 0.000 to
0.004 less than the volume; where it jumps between slices, their plane keeps 0.013 and more."""
_SETS_OF_AXES = ((0, 1), (0, 2), (1, 2), (0, 1, 2))
_WINDOW_VOXELS = 5
_LEAST_POWER = 3.0
"""Of signal and noise together, over the variance of the noise in one part: from an SNR of 1 on."""
_NOISE_MARGIN = 1.3
"""In simulated heads of SNR 1.5 to 20, with noise that is white, stronger in the middle, or of partial
Fourier, the variance comes out at 0.76 of what it is, or more."""
_AIR_PERCENTILE, _MOST_OF_AIR = 30, 0.6
"""Of what is that much darker than the brightest tissue: borders and dark tissue are the rest."""


@dataclass(frozen=True, slots=True)
class Demodulated:
    """A complex image, its smooth phase taken out."""

    real: NDArray[np.float32]
    """(X, Y, Z) signal with Gaussian noise: negative where noise outweighs it."""
    imaginary: NDArray[np.float32]
    """(X, Y, Z) what is left of the other part: noise, where the phase was smooth."""
    phase: NDArray[np.float32]
    """(X, Y, Z) the smooth phase, radians, -pi to pi."""


def demodulate(image: Complex, axes: Sequence[int], width_voxels: float) -> Demodulated:
    """Take out the smooth phase: that of the low-passed image, in two passes, after its linear part.

    The phase of each voxel is that of the Gaussian average of its neighbours, without the voxel itself and
    those next to it: its own noise would turn the phase towards itself, and make the real part too large.

    Parameters
    ----------
    image : (X, Y, Z) complex array
    axes : sequence of int
        Along which the phase is smooth: those in the plane of slices that were excited one by one, whose
        phases differ by the motion between them; all three of a volume that was acquired as one.
    width_voxels : float
        SD of the low-pass of the last pass; the first is twice as wide.

    References
    ----------
    Prah et al., Magn Reson Med 64 (2010) 418; Eichner et al., NeuroImage 122 (2015) 373: real-valued
    diffusion-weighted images.
    Moeller et al., NeuroImage 226 (2021) 117539: low-passed phase before NORDIC.
    """
    turned = image * np.exp(-1j * linear_phase(image, axes)).astype(np.complex64)
    for width in (2 * width_voxels, width_voxels):
        turned = turned * _turn_back(_neighbours_mean(turned, axes, width))
    phase = np.angle(image * turned.conj()).astype(np.float32)
    return Demodulated(turned.real.astype(np.float32), turned.imag.astype(np.float32), phase)


@dataclass(frozen=True, slots=True)
class LowPass:
    """Gaussian low-pass that follows the phase of an image."""

    axes: tuple[int, ...]
    width_voxels: float
    kept: float
    """Part of the signal in the real part, noise included: compares low-passes of one image."""


def choose_low_pass(volumes: Sequence[Complex], axes: Sequence[int]) -> LowPass:
    """The low-pass of `choose_width`, along other axes where those lose signal and others keep clearly more.

    Headers do not always tell which axis lies across slices that were excited one by one, or that there are
    such slices: converters and tools that turn images forget it. Between such slices the phase jumps.

    Parameters
    ----------
    volumes : sequence of (X, Y, Z) complex arrays
        Of one series; a few are enough.
    axes : sequence of int
        Along which the phase is smooth by all that headers say.
    """
    told = _widest(volumes, axes)
    lost = [out_of_phase(demodulate(volume, told.axes, told.width_voxels)) for volume in volumes]
    if np.mean(lost) < _LOOKED_INTO:
        return told
    others = [_widest(volumes, other) for other in _SETS_OF_AXES if other != told.axes]
    best = max(others, key=lambda low_pass: low_pass.kept)
    return best if best.kept > told.kept + _CLEARLY_MORE else told


def choose_width(volumes: Sequence[Complex], axes: Sequence[int]) -> float:
    """The low-pass whose phase predicts that of the voxels best: it leaves most signal in the real part.

    Since no voxel takes part in the estimate of its own phase, noise cannot be mistaken for signal. Of widths
    that do equally well the widest.

    Parameters
    ----------
    volumes : sequence of (X, Y, Z) complex arrays
        Of one series; a few are enough.
    axes : sequence of int
        As in `demodulate`.
    """
    return _widest(volumes, axes).width_voxels


def _widest(volumes: Sequence[Complex], axes: Sequence[int]) -> LowPass:
    """Of the low-passes along some axes that do equally well, the widest."""
    best = LowPass(tuple(axes), max(WIDTHS_VOXELS), -np.inf)
    for width in sorted(WIDTHS_VOXELS, reverse=True):
        kept = float(np.mean([_signal_kept(volume, axes, width) for volume in volumes]))
        if kept > best.kept + _WORTHWHILE:
            best = LowPass(tuple(axes), width, kept)
    return best


def _signal_kept(volume: Complex, axes: Sequence[int], width: float) -> float:
    """Sum of the real part, weighted by the magnitude, over the same sum of the magnitude."""
    magnitude = np.abs(volume)
    total = float(np.sum(magnitude**2, dtype=np.float64))
    if total == 0:
        return 0.0
    return float(np.sum(magnitude * demodulate(volume, axes, width).real, dtype=np.float64)) / total


def out_of_phase(found: Demodulated) -> float:
    """Part of the signal's energy that the real part misses, where the phase is not smooth; 0 for noise.

    What the imaginary part holds beyond noise is signal, however fast its phase turns. The noise is told
    from the magnitude, on which the phase leaves no trace, and counted a little too high: the part is a
    lower limit where noise is strong.

    Returns
    -------
    part : float
        0 to 1.
    """
    power = np.square(found.real) + np.square(found.imaginary)
    around = ndimage.uniform_filter(power, _WINDOW_VOXELS)
    variance = _noise_variance(power, around)
    signal = around > _LEAST_POWER * variance
    if not signal.any():
        return 0.0
    total = float(np.mean(power[signal], dtype=np.float64)) - 2 * variance
    lost = float(np.mean(np.square(found.imaginary[signal]), dtype=np.float64)) - _NOISE_MARGIN * variance
    return float(np.clip(lost / total, 0, 1))


def _noise_variance(power: NDArray[np.float32], around: NDArray[np.float32]) -> float:
    """Variance of the noise in each part of a complex image, from its squared magnitude and local means.

    The square S^2 + 2 v of signal and noise varies by 4 v (S^2 + v), which its finest detail shows where
    neighbours have noise of their own. Where they share it, that is too little, and the air tells more.
    """
    spread = ndimage.uniform_filter(np.square(finest_detail(power)), _WINDOW_VOXELS)
    local = (around - np.sqrt(np.maximum(np.square(around) - spread, 0))) / 2
    bright = around >= np.median(around)
    seen = float(np.median(local[bright]))
    tissue = local[around > _LEAST_POWER * seen]
    seen = float(np.median(tissue)) if tissue.size else seen
    air = around[around < _MOST_OF_AIR * np.percentile(around, 95)]
    return max(seen, float(np.percentile(air, _AIR_PERCENTILE)) / 2) if air.size else seen


def neighbour_coherence(image: Complex, axes: Sequence[int]) -> float:
    """How well the phases of neighbours agree, but for a ramp: 1 where they are smooth, 0 for noise.

    Parameters
    ----------
    image : (X, Y, Z) complex array
        Weighted by its magnitude, so that the noise of air counts little.
    axes : sequence of int
        Along which neighbours lie; every position along the others may have a ramp of its own.
    """
    agreed = total = 0.0
    for axis in axes:
        if image.shape[axis] > 1:
            moved = np.moveaxis(image, axis, 0)
            turn = np.moveaxis(moved[1:] * moved[:-1].conj(), 0, axis)
            agreed += float(np.abs(turn.sum(axis=tuple(axes))).sum())
            total += float(np.abs(turn).sum())
    return agreed / total if total > 0 else 0.0


def linear_phase(image: Complex, axes: Sequence[int]) -> NDArray[np.float32]:
    """Phase of the strongest spatial frequency: a ramp, and a constant, of each slice or of the volume.

    Parameters
    ----------
    image : (X, Y, Z) complex array
    axes : sequence of int
        Along which there may be a ramp; every position along the others has one of its own.

    Returns
    -------
    phase : (X, Y, Z) float32 array
        Radians.
    """
    last = tuple(range(image.ndim - len(axes), image.ndim))
    moved = np.moveaxis(image, axes, last)
    spectrum = fft.fftn(moved, axes=last)
    shape = moved.shape[-len(axes) :]
    flat = np.abs(spectrum).reshape(*moved.shape[: -len(axes)], -1).argmax(axis=-1)
    peaks = np.unravel_index(flat, shape)
    phase = np.zeros(moved.shape, np.float32)
    for axis, (peak, size) in enumerate(zip(peaks, shape, strict=True)):
        frequency = np.where(peak > size // 2, peak - size, peak) / size
        ramp = np.arange(size).reshape([-1 if other == axis else 1 for other in range(len(axes))])
        phase += np.float32(2 * np.pi) * frequency[(...,) + (None,) * len(axes)] * ramp
    turned = (moved * np.exp(-1j * phase)).sum(axis=last, keepdims=True)
    return np.moveaxis(phase + np.angle(turned), last, axes).astype(np.float32)


def _neighbours_mean(image: Complex, axes: Sequence[int], width: float) -> Complex:
    """Gaussian average of the voxels around each one, without those next to it."""
    radius = max(int(np.ceil(_TRUNCATE * width)), _OWN_REACH + 1)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * np.square(offsets / width)).astype(np.float32)
    near = kernel[radius - _OWN_REACH : radius + _OWN_REACH + 1]
    return _correlate(image, axes, kernel) - _correlate(image, axes, near)


def _correlate(image: Complex, axes: Sequence[int], kernel: NDArray[np.float32]) -> Complex:
    parts = [image.real, image.imag]
    for axis in axes:
        if image.shape[axis] > 1:
            parts = [ndimage.correlate1d(part, kernel, axis=axis, mode="constant") for part in parts]
    return parts[0] + np.complex64(1j) * parts[1]


def _turn_back(average: Complex) -> Complex:
    """The turn that makes an average real; none where there is nothing."""
    size = np.abs(average)
    return np.divide(average.conj(), size, out=np.ones_like(average), where=size > 0)
