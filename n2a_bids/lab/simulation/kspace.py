"""Simulated k-space of one coil: sampling, windows, noise; smooth phase put in and taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from n2a_bids.algorithms.preparation.demodulation import choose_width, demodulate

ComplexImage = NDArray[np.complex64]
"""(X, Y, Z) or (X, Y, Z, C) complex array."""

Weight = NDArray[np.float32]
"""(X, Y, Z) factor on k-space, zero frequency in the middle (index n // 2); of length 1 along axes that it
does not touch."""

_PHASE_BENDS = 0.4
"""Peak of the curved part of a smooth phase over that of its slopes."""
_FEW_VOLUMES = 4
"""That tell how smooth the phase of a series is."""


def to_kspace(image: NDArray, axes: Sequence[int]) -> ComplexImage:
    """Centred orthonormal Fourier transform: white noise stays white, and as strong.

    Examples
    --------
    >>> to_kspace(np.ones((4, 1, 1)), (0,))[:, 0, 0].real.tolist()
    [0.0, 0.0, 2.0, 0.0]
    """
    shifted = fft.ifftshift(np.asarray(image, np.complex64), axes=axes)
    return fft.fftshift(fft.fftn(shifted, axes=axes, norm="ortho"), axes=axes)


def to_image(kspace: NDArray, axes: Sequence[int]) -> ComplexImage:
    """Inverse of :func:`to_kspace`."""
    shifted = fft.ifftshift(np.asarray(kspace, np.complex64), axes=axes)
    return fft.fftshift(fft.ifftn(shifted, axes=axes, norm="ortho"), axes=axes)


def box_support(shape: Sequence[int], fractions: Sequence[float]) -> Weight:
    """Middle part of k-space, as of an acquired matrix that was zero-filled to the grid.

    Parameters
    ----------
    shape : three ints
        Grid of the image.
    fractions : three floats
        Acquired matrix over grid along each axis, up to 1; 1 leaves an axis alone.

    Returns
    -------
    weight : (X, Y, Z) array of 0 and 1

    Examples
    --------
    >>> box_support((6, 1, 1), (2 / 3, 1, 1))[:, 0, 0].tolist()
    [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    """
    weight = np.ones((1, 1, 1), np.float32)
    for axis, (size, fraction) in enumerate(zip(shape, fractions, strict=True)):
        acquired = round(size * fraction)
        if acquired < size:
            line = np.zeros(size, np.float32)
            start = size // 2 - acquired // 2
            line[start : start + acquired] = 1
            weight = weight * _along(line, axis)
    return weight


def ellipse_support(shape: Sequence[int], axes: tuple[int, int], fraction: float = 1.0) -> Weight:
    """Ellipse in the plane of two phase-encoding axes: its corners are not acquired.

    Parameters
    ----------
    shape : three ints
    axes : two ints
    fraction : float
        Diameter along the second axis over the grid.
    """
    first, second = (_along(_frequency(shape[axis]), axis) for axis in axes)
    return (first**2 + (second / fraction) ** 2 <= 1).astype(np.float32)


def partial_fourier_support(shape: Sequence[int], axis: int, fraction: float) -> Weight:
    """All of k-space along an axis but the first lines of one side, which stay empty.

    Parameters
    ----------
    shape : three ints
    axis : int
        Phase-encoding axis.
    fraction : float
        Part of the lines that is acquired, such as 6/8.
    """
    line = np.ones(shape[axis], np.float32)
    line[: shape[axis] - round(fraction * shape[axis])] = 0
    return _along(line, axis)


def hann_filter(shape: Sequence[int], axes: Sequence[int], floor: float) -> Weight:
    """Window that falls from 1 in the middle of k-space to `floor` at the ends of each axis.

    Parameters
    ----------
    shape : three ints
    floor : float
        0: Hann, 0.08: Hamming, 1: none.
    """
    weight = np.ones((1, 1, 1), np.float32)
    for axis in axes:
        line = floor + (1 - floor) * 0.5 * (1 + np.cos(np.pi * _frequency(shape[axis])))
        weight = weight * _along(line.astype(np.float32), axis)
    return weight


@dataclass(frozen=True, slots=True)
class SingleCoil:
    """A scan with one receiver: k-space is weighted, then transformed back."""

    weight: Weight

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes along which k-space is touched; the first where none is."""
        touched = tuple(axis for axis in range(3) if self.weight.shape[axis] > 1)
        return touched or (0,)

    @property
    def noise_kept(self) -> float:
        """SD of noise in the image over that of white noise in all of k-space."""
        return float(np.sqrt(np.mean(np.square(self.weight))))

    def noise_spectrum(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """(X, Y, Z) power of the noise of a magnitude image, mean 1, zero frequency first, as NumPy has it.

        Where there is signal, the noise of a magnitude is the part of the complex noise that is in phase
        with it: its power at a frequency is the mean of those at the frequency and at its opposite.
        """
        power = np.broadcast_to(np.square(self.weight), tuple(shape))
        power = fft.ifftshift(power)
        opposite = np.roll(np.flip(power), 1, axis=(0, 1, 2))
        both = (power + opposite) / 2
        return (both / both.mean()).astype(np.float32)

    def reconstruct(self, image: NDArray) -> ComplexImage:
        """Complex image (X, Y, Z) or series (X, Y, Z, C) as the scan shows it."""
        weight = self.weight if image.ndim == 3 else self.weight[..., None]
        return to_image(weight * to_kspace(image, self.axes), self.axes)

    def measure(
        self, image: NDArray, noise_sd: float | NDArray[np.floating], generator: np.random.Generator
    ) -> ComplexImage:
        """Scan once.

        Parameters
        ----------
        image : (X, Y, Z) or (X, Y, Z, C) array
            Real or complex.
        noise_sd : float or array that fits `image`
            SD of the real and of the imaginary part of the noise in the result.
        generator : numpy.random.Generator
            Draws the noise.

        Returns
        -------
        scanned : complex64 array of the shape of `image`
        """
        noise = noise_sd / self.noise_kept * complex_noise(image.shape, generator)
        return self.reconstruct(image + noise)


def complex_noise(shape: Sequence[int], generator: np.random.Generator) -> ComplexImage:
    """White noise of SD 1 in the real and in the imaginary part."""
    real, imaginary = (generator.standard_normal(shape, dtype=np.float32) for _ in range(2))
    return (real + 1j * imaginary).astype(np.complex64)


def smooth_phase(
    shape: Sequence[int], peak_rad: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Phase as of a field that is not quite even: a random offset, slopes and bends.

    Parameters
    ----------
    shape : three ints
    peak_rad : float
        Largest deviation from the offset that the slopes make.
    generator : numpy.random.Generator

    Returns
    -------
    phase : (X, Y, Z) float32 array
        Radians, not wrapped.
    """
    positions = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij", sparse=True)
    slopes, bends = generator.standard_normal(3), generator.standard_normal(3)
    slopes, bends = (part / max(np.abs(part).sum(), 1e-9) for part in (slopes, bends))
    phase = generator.uniform(-np.pi, np.pi)
    for position, slope, bend in zip(positions, slopes, bends, strict=True):
        phase = phase + peak_rad * (slope * position + _PHASE_BENDS * bend * (2 * position**2 - 1))
    return np.broadcast_to(phase, tuple(shape)).astype(np.float32)


def with_phase(signal: NDArray[np.floating], phase: NDArray[np.floating]) -> ComplexImage:
    """Complex image of this magnitude and phase (radians)."""
    return (signal * np.exp(1j * phase)).astype(np.complex64)


def _frequency(size: int) -> NDArray[np.float64]:
    """Frequency of each line over the highest, zero in the middle."""
    return (np.arange(size) - size // 2) / max(size / 2, 1)


def _along(line: NDArray, axis: int) -> NDArray[np.float32]:
    shape = [1, 1, 1]
    shape[axis] = line.size
    return line.reshape(shape).astype(np.float32)


def without_phase(image: NDArray[np.complex64], axes: Sequence[int]) -> NDArray[np.complex64]:
    """An image, or a series, whose smooth phase is taken out: its real part holds the signal.

    Parameters
    ----------
    image : (X, Y, Z) or (X, Y, Z, C) complex array
    axes : sequence of int
        Along which the phase is smooth; see `demodulate`.

    Returns
    -------
    unphased : complex array of the shape of `image`
    """
    volumes = list(np.moveaxis(image.reshape(*image.shape[:3], -1), -1, 0))
    width = choose_width(volumes[:: max(1, len(volumes) // _FEW_VOLUMES)], axes)
    found = [demodulate(volume, axes, width) for volume in volumes]
    unphased = np.stack([one.real + np.complex64(1j) * one.imaginary for one in found], axis=-1)
    return unphased.reshape(image.shape)
