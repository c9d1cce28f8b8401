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

Complex = NDArray[np.complex64]

WIDTHS_VOXELS = (1.5, 2.5, 4.0)
"""SDs of the Gaussian low-pass that are tried: the widest that loses no signal leaves least noise in the
phase."""
_OWN_REACH = 1
"""Voxels around each one that its own phase is not estimated from, so that its noise is not in it."""
_TRUNCATE = 3.0
_WORTHWHILE = 1e-3
"""Part of the signal by which a narrower low-pass must do better."""


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
    best, most = max(WIDTHS_VOXELS), -np.inf
    for width in sorted(WIDTHS_VOXELS, reverse=True):
        kept = float(np.mean([_signal_kept(volume, axes, width) for volume in volumes]))
        if kept > most + _WORTHWHILE:
            best, most = width, kept
    return best


def _signal_kept(volume: Complex, axes: Sequence[int], width: float) -> float:
    """Sum of the real part, weighted by the magnitude, over the same sum of the magnitude."""
    magnitude = np.abs(volume)
    total = float(np.sum(magnitude**2, dtype=np.float64))
    if total == 0:
        return 0.0
    return float(np.sum(magnitude * demodulate(volume, axes, width).real, dtype=np.float64)) / total


def out_of_phase(found: Demodulated, mask: NDArray[np.bool_]) -> float:
    """Part of the signal's energy that the real part misses, where the phase is not smooth; 0 for noise.

    Signal that is out of phase is alike in neighbouring voxels, noise is not: the product of neighbours tells
    the two apart.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
        Brain.

    Returns
    -------
    part : float
        0 to 1.
    """
    lost = max(_shared_energy(found.imaginary, mask), 0.0)
    kept = max(_shared_energy(found.real, mask), 0.0)
    return lost / (lost + kept) if lost + kept > 0 else 0.0


def _shared_energy(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Mean product of voxels that lie two apart along an axis: noise of adjacent voxels may be correlated."""
    products = []
    for axis in range(image.ndim):
        if image.shape[axis] < 3:
            continue
        first, second = (np.moveaxis(one, axis, 0) for one in (image, mask))
        both = second[:-2] & second[2:]
        products.append(
            float(np.sum(first[:-2] * first[2:] * both, dtype=np.float64)) / max(int(both.sum()), 1)
        )
    return float(np.mean(products)) if products else 0.0


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
