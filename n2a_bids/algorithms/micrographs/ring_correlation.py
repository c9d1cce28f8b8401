"""Fourier ring correlation (FRC): the resolution up to which two micrographs agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating]

_TINY = 1e-300
"""Instead of zero, below products of spectra."""
_LARGEST_EDGE = 2048
"""Pixels of the square that is compared; larger images are compared in several of them."""
_MOST_SQUARES = 4
_TAPER = 0.125
"""Part of the edge over which each border falls to zero, so that opposite borders do not jump."""
_SMOOTHED_RINGS = 5
_LOWEST_RINGS = 3
"""Rings around the mean, which hold too few values to cross a threshold in."""
_CERTAINTY = 2.0
"""Standard errors by which two images must agree in a ring to tell how well an estimate of them does."""


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


def fourier_ring_correlation(first: Image, second: Image, pixel_size: float = 1.0) -> RingCorrelation:
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
    sums, counts = _sum_rings((first, second))
    correlation = sums[0, 1] / _roots(sums[0, 0], sums[1, 1])
    return _with_resolution(correlation, _smooth(correlation), counts, pixel_size)


def estimated_ring_correlation(
    halves: tuple[Image, Image], estimates: tuple[Image, Image], pixel_size: float = 1.0
) -> RingCorrelation:
    """Ring correlation that two estimates owe to the signal alone, without what their errors have in common.

    Estimates by one method err alike: they agree where they are smooth, or draw the same edges, and their
    plain correlation tells detail that is not there. Each is compared with the other half as it was measured
    instead, whose noise it has never seen. With spectra A and B of the halves and E(A), E(B) of estimates, it
    is ``<E(A) B> <E(B) A> / (<A B> sqrt(<E(A) E(A)> <E(B) E(B)>))``: the product of the correlations of
    the estimates with the signal, as that of the halves is of theirs. Filters that treat all values of a ring
    alike leave it as it is.

    Parameters
    ----------
    halves : tuple of two (X, Y) arrays
        With independent noise.
    estimates : tuple of two (X, Y) arrays
        Of the signal, each made of one half.
    pixel_size : float
        Edge of a pixel; resolutions come in its unit.

    Returns
    -------
    found : RingCorrelation
        Smoothed over 5 rings; 0 where the halves do not agree beyond chance, so that nothing is known.

    Raises
    ------
    ValueError
        If the images differ in size, or are too small (16 pixels).
    """
    sums, counts = _sum_rings((*halves, *estimates))
    sums = np.array([[_smooth(sums[one, other]) for other in range(4)] for one in range(4)])
    by_chance = 1 / np.sqrt(_SMOOTHED_RINGS * _n_independent(counts))
    is_known = sums[0, 1] > _CERTAINTY * by_chance * _roots(sums[0, 0], sums[1, 1])
    is_known[:_LOWEST_RINGS] = True
    with_signal = np.maximum(sums[2, 1], 0) * np.maximum(sums[3, 0], 0)
    power = np.maximum(sums[0, 1], _TINY) * _roots(sums[2, 2], sums[3, 3])
    correlation = np.where(is_known, np.minimum(with_signal / power, 1), 0)
    return _with_resolution(correlation, correlation, counts, pixel_size)


def _with_resolution(
    correlation: NDArray[np.float64],
    smooth: NDArray[np.float64],
    counts: NDArray[np.float64],
    pixel_size: float,
) -> RingCorrelation:
    """A curve with the periods at which it, smoothed, falls below the thresholds."""
    frequency = np.arange(len(correlation)) / (2 * (len(correlation) - 1) * pixel_size)
    root = np.sqrt(_n_independent(counts))
    one_bit = np.minimum((0.5 + 2.4142 / root) / (1.5 + 1.4142 / root), 1)
    return RingCorrelation(
        frequency=frequency,
        correlation=correlation,
        one_bit=one_bit,
        resolution_seventh=_crossing(frequency, smooth - 1 / 7),
        resolution_one_bit=_crossing(frequency, smooth - one_bit),
    )


def _n_independent(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half of the values of a ring are complex conjugates of the others, and the taper joins neighbours."""
    return np.maximum(counts / 2 * (1 - _TAPER) ** 2, 1)


def _roots(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.maximum(one * other, _TINY))


def _sum_rings(images: Sequence[Image]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Products of all pairs of spectra, (n_images, n_images, n), summed over rings, and values of each ring.

    Raises
    ------
    ValueError
        If the images differ in size, or are too small.
    """
    shape = images[0].shape
    if other := [image.shape for image in images if image.shape != shape]:
        raise ValueError(f"images of one size are compared, found {shape} and {other[0]}")
    edge = min(*shape, _LARGEST_EDGE)
    if edge < 16:
        raise ValueError(f"images of 16 pixels at least are compared, found {shape}")
    boxes = _squares(shape, edge)
    sums = sum(_ring_sums([image[box] for image in images]) for box in boxes)
    return np.asarray(sums), _ring_counts(edge) * len(boxes)


def _squares(shape: tuple[int, ...], edge: int) -> list[tuple[slice, slice]]:
    """Squares spread over the image: one, or up to four of a large one."""
    starts = [sorted({0, size - edge}) if size >= 2 * edge else [(size - edge) // 2] for size in shape]
    boxes = [(slice(x, x + edge), slice(y, y + edge)) for x in starts[0] for y in starts[1]]
    return boxes[:_MOST_SQUARES]


def _ring_sums(images: Sequence[Image]) -> NDArray[np.float64]:
    """(n_images, n_images, n) products of the spectra of squares, summed over rings."""
    edge, n_images = len(images[0]), len(images)
    ramp = np.minimum(np.arange(edge) + 0.5, edge - np.arange(edge) - 0.5) / (_TAPER * edge)
    window = np.sin(np.pi / 2 * np.minimum(ramp, 1)) ** 2
    window = window[:, None] * window
    spectra = [np.fft.rfft2((image - image.mean(dtype=np.float64)) * window) for image in images]
    rings, weight = _rings(edge)
    n_rings = edge // 2 + 1
    sums = np.zeros((n_images, n_images, n_rings))
    for one, other in combinations_with_replacement(range(n_images), 2):
        part = (spectra[one] * spectra[other].conj()).real * weight
        sums[one, other] = sums[other, one] = np.bincount(rings.ravel(), part.ravel())[:n_rings]
    return sums


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
