"""Fourier ring correlation (FRC): the resolution up to which two micrographs agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LARGEST_EDGE = 2048
"""Pixels of the square that is compared; larger images are compared in several of them."""
_MOST_SQUARES = 4
_TAPER = 0.125
"""Part of the edge over which each border falls to zero, so that opposite borders do not jump."""
_SMOOTHED_RINGS = 5
_LOWEST_RINGS = 3
"""Rings around the mean, which hold too few values to cross a threshold in."""


@dataclass(frozen=True, slots=True)
class RingCorrelation:
    """Correlation of two images by spatial frequency."""

    frequency: NDArray[np.float64]
    """(n,) cycles per unit of length of the pixel size, up to Nyquist."""
    correlation: NDArray[np.float64]
    """(n,) -1 to 1."""
    one_bit: NDArray[np.float64]
    """(n,) threshold above which a ring carries one bit of information per value."""
    resolution_seventh: float | None
    """Length (one period) at which the correlation falls below 1/7; None where it never reaches it, which is
    no detail at all; the smallest period that pixels can hold where it never falls below."""
    resolution_one_bit: float | None
    """The same for the threshold of one bit."""


def fourier_ring_correlation(
    first: NDArray[np.floating], second: NDArray[np.floating], pixel_size: float = 1.0
) -> RingCorrelation:
    """Correlate two independent images of one field of view ring by ring of spatial frequency.

    Saxton and Baumeister (J Microsc 127, 1982); the threshold of one bit after van Heel and Schatz (J Struct
    Biol 151, 2005), 1/7 as in super-resolution microscopy (Nieuwenhuizen et al., Nat Methods 10, 2013).

    Parameters
    ----------
    first, second : (X, Y) array
        With independent noise: exposures, or halves of them.
    pixel_size : float
        Edge of a pixel; resolutions come in its unit.

    Raises
    ------
    ValueError
        If the images differ in size, or are too small (16 pixels).
    """
    if first.shape != second.shape:
        raise ValueError(f"images of one size are compared, found {first.shape} and {second.shape}")
    edge = min(*first.shape, _LARGEST_EDGE)
    if edge < 16:
        raise ValueError(f"images of 16 pixels at least are compared, found {first.shape}")
    sums = np.zeros((3, edge // 2 + 1))
    boxes = _squares(first.shape, edge)
    for box in boxes:
        sums += _ring_sums(first[box], second[box])
    counts = _ring_counts(edge) * len(boxes)
    correlation = sums[0] / np.sqrt(np.maximum(sums[1] * sums[2], 1e-300))
    frequency = np.arange(edge // 2 + 1) / (edge * pixel_size)
    # Of the values of a ring, half are the complex conjugates of the others, and the taper joins neighbours.
    root = np.sqrt(np.maximum(counts / 2 * (1 - _TAPER) ** 2, 1))
    one_bit = np.minimum((0.5 + 2.4142 / root) / (1.5 + 1.4142 / root), 1)
    smooth = _smooth(correlation)
    return RingCorrelation(
        frequency=frequency,
        correlation=correlation,
        one_bit=one_bit,
        resolution_seventh=_crossing(frequency, smooth - 1 / 7),
        resolution_one_bit=_crossing(frequency, smooth - one_bit),
    )


def _squares(shape: tuple[int, ...], edge: int) -> list[tuple[slice, slice]]:
    """Squares spread over the image: one, or up to four of a large one."""
    starts = [sorted({0, size - edge}) if size >= 2 * edge else [(size - edge) // 2] for size in shape]
    boxes = [(slice(x, x + edge), slice(y, y + edge)) for x in starts[0] for y in starts[1]]
    return boxes[:_MOST_SQUARES]


def _ring_sums(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """(3, n) products of the two spectra and the power of each, summed over rings."""
    edge = len(first)
    ramp = np.minimum(np.arange(edge) + 0.5, edge - np.arange(edge) - 0.5) / (_TAPER * edge)
    window = np.sin(np.pi / 2 * np.minimum(ramp, 1)) ** 2
    window = window[:, None] * window
    spectra = [np.fft.rfft2((image - image.mean(dtype=np.float64)) * window) for image in (first, second)]
    rings, weight = _rings(edge)
    parts = (spectra[0] * spectra[1].conj()).real, np.abs(spectra[0]) ** 2, np.abs(spectra[1]) ** 2
    n_rings = edge // 2 + 1
    return np.stack([np.bincount(rings.ravel(), (part * weight).ravel())[:n_rings] for part in parts])


def _rings(edge: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Ring of every value of half a spectrum, and how often it stands in the whole one."""
    radius = np.hypot(np.fft.fftfreq(edge)[:, None], np.fft.rfftfreq(edge)) * edge
    weight = np.full(radius.shape[1], 2.0)
    weight[0] = 1
    if edge % 2 == 0:
        weight[-1] = 1
    return np.round(radius).astype(np.intp), np.broadcast_to(weight, radius.shape)


def _ring_counts(edge: int) -> NDArray[np.float64]:
    rings, weight = _rings(edge)
    return np.bincount(rings.ravel(), weight.ravel())[: edge // 2 + 1]


def _smooth(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running mean over rings, the first rings left as they are."""
    padded = np.pad(curve, _SMOOTHED_RINGS // 2, mode="edge")
    smooth = np.convolve(padded, np.full(_SMOOTHED_RINGS, 1 / _SMOOTHED_RINGS), mode="valid")
    smooth[: _SMOOTHED_RINGS // 2] = curve[: _SMOOTHED_RINGS // 2]
    return smooth


def _crossing(frequency: NDArray[np.float64], above: NDArray[np.float64]) -> float | None:
    """Period at which a curve first falls below zero, between rings by a straight line."""
    if above[_LOWEST_RINGS] <= 0:
        return None
    below = np.flatnonzero(above[_LOWEST_RINGS:] <= 0)
    if not len(below):
        return float(1 / frequency[-1])
    ring = int(below[0]) + _LOWEST_RINGS
    part = above[ring - 1] / (above[ring - 1] - above[ring])
    return float(1 / (frequency[ring - 1] + part * (frequency[ring] - frequency[ring - 1])))
