"""Receivers of the conditions: from a clean image to a noisy magnitude or complex one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from n2a_bids.lab.simulation import kspace
from n2a_bids.lab.simulation.parallel_imaging import (
    PHASE_AXIS,
    READOUT_AXIS,
    SLICE_AXIS,
    Combination,
    GrappaScan,
    coil_sensitivities,
)

_N_COILS = 8
_PHASE_PEAK_RAD = 2.0
_PARTIAL_FOURIER = 6 / 8
_HAMMING_FLOOR = 0.08
_ELLIPSE_SLICES = 0.85

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Receiver:
    """A scan, with the phase that images have in it; the same for every repetition."""

    scan: kspace.SingleCoil | GrappaScan
    phase: NDArray[np.float32]
    """(X, Y, Z), or (X, Y, Z, C) of a series; radians."""
    noise_map: NDArray[np.float32]
    """(X, Y, Z) noise SD in the image over the level that is asked for; root mean square 1 in the mask."""
    noise_gain: float = 1.0
    """Noise that the scan is given over the level that is asked for."""

    def complex_image(
        self, signal: NDArray[np.floating], noise_sd: float, generator: np.random.Generator
    ) -> NDArray:
        """Scan a clean image or series once; see `magnitude`."""
        image = kspace.with_phase(signal, self.phase)
        return self.scan.measure(image, noise_sd * self.noise_gain, generator)

    def magnitude(
        self, signal: NDArray[np.floating], noise_sd: float, generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Scan a clean image or series once.

        Parameters
        ----------
        signal : (X, Y, Z) or (X, Y, Z, C) array
        noise_sd : float
            SD of the real and of the imaginary part of the noise of the image, root mean square in the mask.
        generator : numpy.random.Generator

        Returns
        -------
        scanned : float32 array of the shape of `signal`
        """
        return np.abs(self.complex_image(signal, noise_sd, generator)).astype(np.float32)

    def without_noise(self, signal: NDArray[np.floating]) -> NDArray[np.float32]:
        """What the scan shows of a clean image: the best that denoising can give."""
        return self.magnitude(signal, 0.0, np.random.default_rng(0))


def white(signal: NDArray, mask: Mask, generator: np.random.Generator) -> Receiver:
    """All of k-space."""
    return _single_coil(np.ones((1, 1, 1), np.float32), signal, generator)


def zero_filled(signal: NDArray, mask: Mask, generator: np.random.Generator) -> Receiver:
    """Acquired matrix 1.5 times coarser in plane."""
    return _single_coil(kspace.box_support(mask.shape, _in_plane(1 / 1.5)), signal, generator)


def zero_filled_twice(signal: NDArray, mask: Mask, generator: np.random.Generator) -> Receiver:
    """Acquired matrix 2 times coarser in plane."""
    return _single_coil(kspace.box_support(mask.shape, _in_plane(1 / 2)), signal, generator)


def elliptic(signal: NDArray, mask: Mask, generator: np.random.Generator) -> Receiver:
    """Ellipse of the two phase encodings of a 3D scan."""
    weight = kspace.ellipse_support(mask.shape, (PHASE_AXIS, SLICE_AXIS), _ELLIPSE_SLICES)
    return _single_coil(weight, signal, generator)


def partial_fourier(signal: NDArray, mask: Mask, generator: np.random.Generator) -> Receiver:
    """6/8 of the lines of phase encoding."""
    weight = kspace.partial_fourier_support(mask.shape, PHASE_AXIS, _PARTIAL_FOURIER)
    return _single_coil(weight, signal, generator)


def zero_filled_partial_fourier(signal: NDArray, mask: Mask, generator: np.random.Generator) -> Receiver:
    """6/8 of the lines of a matrix 1.5 times coarser in plane: those of one side stay empty."""
    fraction = 1 / 1.5
    box = kspace.box_support(mask.shape, _in_plane(fraction))
    # Of the acquired matrix a quarter of the lines is missing, at the end where all lines begin.
    kept = 0.5 + fraction * (_PARTIAL_FOURIER - 0.5)
    lines = kspace.partial_fourier_support(mask.shape, PHASE_AXIS, kept)
    return _single_coil(box * lines, signal, generator)


def filtered(signal: NDArray, mask: Mask, generator: np.random.Generator) -> Receiver:
    """Hamming window in plane."""
    weight = kspace.hann_filter(mask.shape, (READOUT_AXIS, PHASE_AXIS), _HAMMING_FLOOR)
    return _single_coil(weight, signal, generator)


def grappa(signal: NDArray, mask: Mask, generator: np.random.Generator) -> Receiver:
    """Coils combined by their sensitivities."""
    return _grappa("sensitivities", signal, mask, generator)


def grappa_sum_of_squares(signal: NDArray, mask: Mask, generator: np.random.Generator) -> Receiver:
    """Coils combined by the root sum of squares."""
    return _grappa("sum of squares", signal, mask, generator)


def _grappa(
    combination: Combination, signal: NDArray, mask: Mask, generator: np.random.Generator
) -> Receiver:
    first = signal if signal.ndim == 3 else signal[..., 0]
    phase = _phases(signal, generator)
    sensitivities = coil_sensitivities(mask.shape, _N_COILS, generator)
    scan = GrappaScan.calibrated(first, sensitivities, generator, combination=combination)
    noise_map = scan.noise_map(generator)
    level = float(np.sqrt(np.mean(noise_map[mask] ** 2)))
    return Receiver(scan, phase, noise_map / np.float32(level), 1 / level)


def _single_coil(weight: kspace.Weight, signal: NDArray, generator: np.random.Generator) -> Receiver:
    even = np.ones(signal.shape[:3], np.float32)
    return Receiver(kspace.SingleCoil(weight), _phases(signal, generator), even)


def _phases(signal: NDArray, generator: np.random.Generator) -> NDArray[np.float32]:
    """A phase for the image, or, as motion makes it, one for each volume of a series."""
    shape = signal.shape[:3]
    if signal.ndim == 3:
        return kspace.smooth_phase(shape, _PHASE_PEAK_RAD, generator)
    phases = [kspace.smooth_phase(shape, _PHASE_PEAK_RAD, generator) for _ in range(signal.shape[3])]
    return np.stack(phases, axis=-1)


def _in_plane(fraction: float) -> tuple[float, float, float]:
    fractions = [1.0, 1.0, 1.0]
    fractions[READOUT_AXIS] = fractions[PHASE_AXIS] = fraction
    return fractions[0], fractions[1], fractions[2]
