"""Simulated repetitions under a condition of the table: its receiver, shading, shape, ghosts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from n2a_bids.lab.simulation.conditions import Condition, load_function
from n2a_bids.lab.simulation.kspace import SingleCoil
from n2a_bids.lab.simulation.parallel_imaging import PHASE_AXIS
from n2a_bids.lab.simulation.random_fields import smooth_field
from n2a_bids.lab.simulation.receivers import Receiver, white

_SHADING_SD = 0.1
"""Of the logarithm of the shading."""
_SHADING_KNOTS = 4
_WARP_VOXELS = 0.3
"""Root mean square displacement along each axis."""
_WARP_KNOTS = 9
_GHOST = 0.05


@dataclass(frozen=True, slots=True)
class Variation:
    """Clean repetitions, and what a perfect method would make of them."""

    signals: NDArray[np.float32]
    """(R, X, Y, Z) or (R, X, Y, Z, C)."""
    reference: NDArray[np.float32]
    """One of them less."""


def other_sessions(
    signal: NDArray[np.floating], mask: NDArray[np.bool_], n_repetitions: int, generator: np.random.Generator
) -> Variation:
    """Each run but the first with another shading and small displacements.

    The shape of the first is kept, so that a mask fits; `reference` is the mean of the clean runs.
    """
    runs = [np.asarray(signal, np.float32)]
    for _ in range(1, n_repetitions):
        shading = np.exp(smooth_field(generator, mask.shape, _SHADING_KNOTS, _SHADING_SD))
        shift = [smooth_field(generator, mask.shape, _WARP_KNOTS, 1.0) for _ in range(3)]
        runs.append(_per_volume(signal, partial(_on_another_day, mask=mask, shift=shift, shading=shading)))
    signals = np.stack(runs)
    return Variation(signals, signals.mean(axis=0))


def ghosts(
    signal: NDArray[np.floating], mask: NDArray[np.bool_], n_repetitions: int, generator: np.random.Generator
) -> Variation:
    """A faint copy in every run, half the field of view away along phase encoding; `reference` has none.

    Its strength and sign are drawn anew in each run (and in each volume of a series), up to 5 %.
    """

    def haunted(volume: NDArray[np.floating]) -> NDArray[np.float32]:
        strength = _GHOST * generator.uniform(-1, 1)
        copy = np.roll(volume, volume.shape[PHASE_AXIS] // 2, axis=PHASE_AXIS)
        return np.abs(volume + strength * copy).astype(np.float32)

    runs = [_per_volume(signal, haunted) for _ in range(n_repetitions)]
    return Variation(np.stack(runs), np.asarray(signal, np.float32))


def _per_volume(signal: NDArray, change: Callable[[NDArray], NDArray]) -> NDArray[np.float32]:
    if signal.ndim == 3:
        return np.asarray(change(signal), np.float32)
    volumes = [change(signal[..., number]) for number in range(signal.shape[-1])]
    return np.stack(volumes, axis=-1).astype(np.float32)


def _on_another_day(
    volume: NDArray[np.floating],
    mask: NDArray[np.bool_],
    shift: list[NDArray[np.float32]],
    shading: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The volume moved by the shifts, scaled to their size, and shaded."""
    places = np.indices(volume.shape, dtype=np.float32)
    for axis, along in enumerate(shift):
        along = along - along[mask].mean()
        size = max(float(np.sqrt(np.mean(along[mask] ** 2))), 1e-9)
        if volume.shape[axis] > 1:
            places[axis] += along * np.float32(_WARP_VOXELS / size)
    return ndimage.map_coordinates(volume, places, order=3, mode="nearest") * shading


@dataclass(frozen=True, slots=True)
class Scans:
    """Noisy repetitions, and all that is known of them."""

    repetitions: NDArray[np.float32] | NDArray[np.complex64]
    """(R, X, Y, Z) or (R, X, Y, Z, C): magnitudes, or complex images where the condition keeps the phase."""
    reference: NDArray[np.float32]
    """Without noise and artefacts, magnitude, as the scan would show it: what denoising can at best give."""
    noise_sd: NDArray[np.float32]
    """(X, Y, Z) SD of the real and of the imaginary part of the noise."""
    noise_spectrum: NDArray[np.float32] | None
    """(X, Y, Z) power of the noise of magnitudes over frequency, mean 1, zero frequency first; None for
    several coils, whose noise has no one spectrum."""
    phase: NDArray[np.float32]
    """(X, Y, Z) or (X, Y, Z, C), radians."""


def scan_repetitions(
    signal: NDArray[np.floating],
    mask: NDArray[np.bool_],
    condition: Condition,
    n_repetitions: int,
    noise_sd: float,
    generator: np.random.Generator,
) -> Scans:
    """Scan a clean image or series several times.

    Parameters
    ----------
    signal : (X, Y, Z) or (X, Y, Z, C) array
        Clean magnitudes, whole along ``condition.kspace_axes``.
    mask : (X, Y, Z) bool array
        Where the noise level is meant to hold.
    noise_sd : float
        SD of the real and of the imaginary part of the noise of one repetition, root mean square in the mask.
    generator : numpy.random.Generator
        The only source of randomness.
    """
    receiver = make_receiver(signal, mask, condition, generator)
    varied = vary(signal, mask, condition, n_repetitions, generator)
    look = receiver.complex_image if condition.is_complex else receiver.magnitude
    spectrum = receiver.scan.noise_spectrum(mask.shape) if isinstance(receiver.scan, SingleCoil) else None
    return Scans(
        repetitions=np.stack([look(one, noise_sd, generator) for one in varied.signals]),
        reference=receiver.without_noise(varied.reference),
        noise_sd=(noise_sd * receiver.noise_map).astype(np.float32),
        noise_spectrum=spectrum,
        phase=receiver.phase,
    )


def make_receiver(
    signal: NDArray[np.floating],
    mask: NDArray[np.bool_],
    condition: Condition,
    generator: np.random.Generator,
) -> Receiver:
    """Receiver of a condition for images of this kind; that of white noise where it has none of its own."""
    make = load_function(condition.receiver) if condition.receiver else white
    return make(signal, mask, generator)


def vary(
    signal: NDArray[np.floating],
    mask: NDArray[np.bool_],
    condition: Condition,
    n_repetitions: int,
    generator: np.random.Generator,
) -> Variation:
    """Clean repetitions of a condition: copies of the signal where it changes none."""
    if condition.variation:
        return load_function(condition.variation)(signal, mask, n_repetitions, generator)
    same = np.asarray(signal, np.float32)
    return Variation(np.broadcast_to(same, (n_repetitions, *same.shape)), same)


def spectrum_of_box(spectrum: NDArray[np.floating], shape: Sequence[int]) -> NDArray[np.float32]:
    """Noise spectrum on a smaller grid of the same voxels: the same covariance of neighbours.

    Parameters
    ----------
    spectrum : (X, Y, Z) array
        Zero frequency first.
    shape : three ints
        No larger than the grid of `spectrum`.

    Returns
    -------
    spectrum : array of shape `shape`
        Mean 1, not negative.
    """
    covariance = fft.fftshift(fft.ifftn(spectrum).real)
    cut = tuple(
        slice(size // 2 - length // 2, size // 2 - length // 2 + length)
        for size, length in zip(covariance.shape, shape, strict=True)
    )
    power = np.maximum(fft.fftn(fft.ifftshift(covariance[cut])).real, 0)
    return (power / power.mean()).astype(np.float32)
