"""Simulated multi-coil scans: sensitivities, undersampling, GRAPPA, coil combination.

GRAPPA is that of Griswold et al., Magnetic Resonance in Medicine 47 (2002): missing lines are linear
combinations of acquired ones of all coils, with weights learned from fully sampled middle lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.lab.simulation.kspace import ComplexImage, complex_noise, to_image, to_kspace

READOUT_AXIS, PHASE_AXIS, SLICE_AXIS = 0, 1, 2
"""Array axes of simulated scans."""
_PLANE = (READOUT_AXIS, PHASE_AXIS)

_LINE_OFFSETS = (-3, -1, 1, 3)
"""Acquired lines that a missing one is made from, at an acceleration of 2."""
_READOUT_OFFSETS = (-2, -1, 0, 1, 2)
_CALIBRATION_LINES, _CALIBRATION_SNR = 24, 50.0
"""Middle lines, all of which are acquired, and their mean signal over the noise of a coil."""
_RIDGE = 1e-4
"""Of the mean power of the sources: keeps the noise of the calibration out of the weights."""
_NOISE_DRAWS = 12
_MAP_SMOOTHING_VOXELS = 1.5

Combination = Literal["sensitivities", "sum of squares"]


def coil_sensitivities(
    shape: Sequence[int], n_coils: int, generator: np.random.Generator
) -> NDArray[np.complex64]:
    """Coils on two rings around the third axis; each sees best what lies near it.

    Parameters
    ----------
    shape : three ints
    generator : numpy.random.Generator
        Turns the rings.

    Returns
    -------
    sensitivities : (X, Y, Z, K) complex64 array
        Smooth, nowhere zero, root sum of squares 1 on average.
    """
    places = np.meshgrid(*(np.linspace(-1, 1, max(size, 2))[:size] for size in shape), indexing="ij")
    turn = generator.uniform(0, 2 * np.pi)
    coils = []
    for number in range(n_coils):
        angle = turn + 2 * np.pi * number / n_coils
        away = [
            places[0] - 1.7 * np.cos(angle),
            places[1] - 1.7 * np.sin(angle),
            0.7 * (places[2] - (0.5 if number % 2 else -0.5)),
        ]
        distance2 = sum(part**2 for part in away)
        in_plane = np.arctan2(away[1], away[0]) - angle
        coils.append((0.4 + distance2) ** -1.5 * np.exp(1j * in_plane))
    sensitivities = np.stack(coils, axis=-1)
    size = np.sqrt(np.mean(np.sum(np.abs(sensitivities) ** 2, axis=-1)))
    return (sensitivities / size).astype(np.complex64)


@dataclass(frozen=True, slots=True)
class GrappaScan:
    """A scan of slices with every second line, filled by GRAPPA, its coils combined."""

    sensitivities: NDArray[np.complex64]
    """(X, Y, Z, K)."""
    weights: NDArray[np.complex64]
    """(Z, S, K) of GRAPPA, see `learn_weights`."""
    combination: Combination = "sensitivities"
    """By the true sensitivities, which leaves Gaussian noise in the complex image; or the root sum of squares
    over that of the sensitivities, a magnitude of noncentral chi noise."""

    @classmethod
    def calibrated(
        cls,
        signal: NDArray,
        sensitivities: NDArray[np.complex64],
        generator: np.random.Generator,
        *,
        combination: Combination = "sensitivities",
    ) -> GrappaScan:
        """Learn the weights from a scan of the middle lines, made before all others.

        Parameters
        ----------
        signal : (X, Y, Z) array
            Clean image.
        sensitivities : (X, Y, Z, K) array
        generator : numpy.random.Generator
            Draws the noise of the calibration.
        combination : {"sensitivities", "sum of squares"}
        """
        noise_sd = float(signal[signal > 0].mean()) / _CALIBRATION_SNR
        noise = noise_sd * complex_noise(sensitivities.shape, generator)
        kspace = to_kspace(sensitivities * signal[..., None] + noise, _PLANE)
        return cls(sensitivities, learn_weights(kspace), combination)

    def noise_map(self, generator: np.random.Generator) -> NDArray[np.float32]:
        """(X, Y, Z) noise SD in the image for noise of SD 1 in every coil, from scans of noise alone."""
        power = np.zeros(self.sensitivities.shape[:3], np.float32)
        for _ in range(_NOISE_DRAWS):
            noise = complex_noise(self.sensitivities.shape, generator)
            combined = self._by_sensitivities(self._fill(to_kspace(noise, _PLANE)))
            power += (combined.real**2 + combined.imag**2) / 2
        # Slices have weights of their own, so that their noise jumps from one to the next.
        smooth = ndimage.gaussian_filter(power / _NOISE_DRAWS, _MAP_SMOOTHING_VOXELS, axes=_PLANE)
        return np.sqrt(smooth)

    def measure(self, image: NDArray, noise_sd: float, generator: np.random.Generator) -> NDArray:
        """Scan once.

        Parameters
        ----------
        image : (X, Y, Z) or (X, Y, Z, C) array
            Real or complex.
        noise_sd : float
            SD of the real and of the imaginary part of the noise of each coil.
        generator : numpy.random.Generator

        Returns
        -------
        scanned : array of the shape of `image`
            Complex, or, after the sum of squares, a float32 magnitude.
        """
        volumes = image[..., None] if image.ndim == 3 else image
        scanned = []
        for number in range(volumes.shape[-1]):
            noise = noise_sd * complex_noise(self.sensitivities.shape, generator)
            coils = self.sensitivities * volumes[..., number, None] + noise
            scanned.append(self._combine(self._fill(to_kspace(coils, _PLANE))))
        return np.stack(scanned, axis=-1).reshape(image.shape)

    def _fill(self, kspace: ComplexImage) -> ComplexImage:
        """Images of the coils."""
        return to_image(fill_lines(kspace, self.weights), _PLANE)

    def _combine(self, coil_images: ComplexImage) -> NDArray:
        if self.combination == "sensitivities":
            return self._by_sensitivities(coil_images)
        size = np.linalg.norm(self.sensitivities, axis=-1)
        return (np.linalg.norm(coil_images, axis=-1) / size).astype(np.float32)

    def _by_sensitivities(self, coil_images: ComplexImage) -> ComplexImage:
        total = np.sum(np.conj(self.sensitivities) * coil_images, axis=-1)
        return (total / np.sum(np.abs(self.sensitivities) ** 2, axis=-1)).astype(np.complex64)


def learn_weights(kspace: ComplexImage) -> NDArray[np.complex64]:
    """Weights of the lines around a missing one, from the middle lines.

    Parameters
    ----------
    kspace : (X, Y, Z, K) complex array
        Of each slice and coil; readout along the first axis, phase encoding along the second.

    Returns
    -------
    weights : (Z, S, K) complex64 array
        S is the number of sources: neighbours times coils.
    """
    middle = kspace.shape[PHASE_AXIS] // 2
    reach = max(_LINE_OFFSETS)
    targets = middle + np.arange(_CALIBRATION_LINES)[reach:-reach] - _CALIBRATION_LINES // 2
    sources = _sources(kspace, targets).astype(np.complex128)
    target = np.moveaxis(kspace[:, targets], 2, 0).reshape(kspace.shape[2], -1, kspace.shape[3])
    adjoint = np.conj(np.swapaxes(sources, 1, 2))
    gram = adjoint @ sources
    power = np.trace(gram, axis1=1, axis2=2).real / gram.shape[-1]
    gram += _RIDGE * power[:, None, None] * np.eye(gram.shape[-1])
    return np.linalg.solve(gram, adjoint @ target).astype(np.complex64)


def fill_lines(kspace: ComplexImage, weights: NDArray[np.complex64]) -> ComplexImage:
    """Put what GRAPPA says in place of every second line outside the middle ones."""
    filled = kspace.copy()
    missing = np.flatnonzero(~acquired_lines(kspace.shape[PHASE_AXIS]))
    found = _sources(kspace, missing) @ weights
    n_readout, n_slices, n_coils = kspace.shape[0], kspace.shape[2], kspace.shape[3]
    filled[:, missing] = np.moveaxis(found.reshape(n_slices, n_readout, missing.size, n_coils), 0, 2)
    return filled


def acquired_lines(n_lines: int, n_middle: int = _CALIBRATION_LINES) -> NDArray[np.bool_]:
    """Which lines of phase encoding are measured: every second one, and all in the middle.

    Examples
    --------
    >>> acquired_lines(12, 4).astype(int).tolist()
    [1, 0, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0]
    """
    acquired = np.arange(n_lines) % 2 == 0
    start = n_lines // 2 - n_middle // 2
    acquired[max(start, 0) : start + n_middle] = True
    return acquired


def _sources(kspace: ComplexImage, targets: NDArray[np.integer]) -> ComplexImage:
    """(Z, readout times targets, S): neighbours of the lines `targets`, all coils; zero beyond the ends."""
    across, along = max(_LINE_OFFSETS), max(_READOUT_OFFSETS)
    padded = np.pad(kspace, ((along, along), (across, across), (0, 0), (0, 0)))
    n_readout = kspace.shape[0]
    parts = [
        padded[along + shift : along + shift + n_readout][:, targets + across + offset]
        for offset in _LINE_OFFSETS
        for shift in _READOUT_OFFSETS
    ]
    stacked = np.stack(parts, axis=-2)  # readout, targets, slice, neighbour, coil
    ordered = np.moveaxis(stacked, 2, 0)
    return ordered.reshape(kspace.shape[2], n_readout * len(targets), -1)
