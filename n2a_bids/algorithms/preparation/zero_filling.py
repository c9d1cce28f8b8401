"""Undoes zero-filling (interpolation in k-space): to the acquired matrix, and back to the stored grid.

Of repetitions, whose differences tell their noise, :mod:`~n2a_bids.algorithms.noise.kspace` finds more.

Zero-filling adds voxels but no measurement: noise of neighbours is correlated, and what assumes that it is
white takes it for anatomy. Cutting the empty frequencies off gives the image as it was measured, with white
noise of the same SD; interpolating back by the same means loses nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.normalization import Mask, Volume

_LEAST_STEP = 10.0
"""Power below the edge of the measured frequencies over that above it. Zero-filled images, whose magnitudes
were taken afterwards, fall by 17 (after a Hamming window) to 2,000, partial Fourier of 6/8 by 2 to 6 on one
side, a Hann window on all frequencies by 9 at their end."""
_LEAST_SUDDEN = 6.0
"""The same over the fall of the power on either side of the edge, which is 1.0 to 6, and 15 under a window:
small images of little noise, and filtered ones, fall by 5 to 40 everywhere, without a step."""
_STEP_BINS = 3
_LOWEST_EDGE = 0.15
"""Cycles per voxel: nobody fills up to more than three times the matrix."""
_FULL = 0.47
"""Cycles per voxel from which on nothing worth the trouble is missing."""
_LEAST_VOXELS = 24


class MeasuredImage(NamedTuple):
    """An image without zero-filling, and what of the stored one still tells of noise."""

    image: Volume
    """(X, Y, Z) on the matrix that was acquired; as it was stored where nothing was filled."""
    mask: Mask
    thinned: tuple[Volume, Mask] | None
    """Stored image and its mask, of voxels so far apart that their noise is independent; None where nothing
    was filled. Its air has the distribution of magnitudes, which cutting frequencies off changes."""


def undo_zero_filling(image: Volume, mask: Mask) -> MeasuredImage:
    """One image as it was measured: where the scanner filled k-space with zeros, without these.

    Parameters
    ----------
    image : (X, Y, Z) float array
        As stored.
    mask : (X, Y, Z) bool array
        Brain mask.
    """
    shape = find_measured_shape(image, mask)
    if shape is None:
        return MeasuredImage(image, mask, None)
    apart = tuple(
        slice(None, None, -(-large // small)) for large, small in zip(image.shape, shape, strict=True)
    )
    return MeasuredImage(resize_spectrum(image, shape), resize_mask(mask, shape), (image[apart], mask[apart]))


def find_measured_shape(image: Volume, mask: Mask) -> tuple[int, int, int] | None:
    """Matrix that was measured before an image was zero-filled.

    Parameters
    ----------
    image : (X, Y, Z) float array
    mask : (X, Y, Z) bool array
        Brain mask: its box is looked at, away from areas that were set to zero.

    Returns
    -------
    shape : (3,) tuple of int or None
        No larger than that of the image along any axis; None where nothing was filled.
    """
    box = bounding_box(mask)
    part = np.asarray(image[box], np.float32)
    if min(part.shape) < _LEAST_VOXELS:
        return None
    part = part - part.mean()
    for axis, size in enumerate(part.shape):
        window = np.hanning(size + 2)[1:-1].astype(np.float32)
        part = part * np.expand_dims(window, [other for other in range(3) if other != axis])
    power = np.abs(fft.fftn(part)) ** 2
    parts = [_measured_part(power, axis) for axis in range(3)]
    if min(parts) == 1:
        return None
    # Matrices are even, and half of the frequencies means exactly half.
    return tuple(2 * round(size * part / 2) for size, part in zip(image.shape, parts, strict=True))


def _measured_part(power: NDArray[np.float32], axis: int) -> float:
    """Part of the frequencies along one axis that hold something; 1 for all."""
    size = power.shape[axis]
    others = [np.abs(fft.fftfreq(n)) > 0.1 for number, n in enumerate(power.shape) if number != axis]
    lines = np.moveaxis(power, axis, 0)[:, others[0]][:, :, others[1]].mean(axis=(1, 2))
    frequencies = np.abs(fft.fftfreq(size))
    profile = np.array([lines[frequencies == value].mean() for value in np.unique(frequencies)])
    values = np.unique(frequencies)
    best, edge, reach = 0.0, 0.5, 3 * _STEP_BINS
    for index in range(_STEP_BINS, len(values) - _STEP_BINS):
        if not _LOWEST_EDGE < values[index] < _FULL:
            continue
        inside = profile[index - _STEP_BINS : index].mean()
        step = inside / max(profile[index + 1 :].max(), 1e-30)
        beside = (profile[max(index - reach, 0) : index], profile[index + 1 : index + 1 + reach])
        if step > max(best, _LEAST_STEP, _LEAST_SUDDEN * max(map(_largest_fall, beside))):
            best, edge = step, values[index]
    if not best:
        return 1.0
    # The window spreads the edge by a bin.
    part = min(1.0, 2 * (edge - 1 / size))
    return 0.5 if abs(part - 0.5) < 2 / size + 0.01 else part


def _largest_fall(profile: NDArray[np.float64]) -> float:
    """Largest ratio of the power in a band of a few bins to that in the next; of less, as if it went on."""
    if len(profile) < 2 * _STEP_BINS:
        steps = max(len(profile) - 1, 1)
        return float((profile[0] / max(profile[-1], 1e-30)) ** (_STEP_BINS / steps)) if len(profile) else 1.0
    bands = np.convolve(profile, np.full(_STEP_BINS, 1 / _STEP_BINS), mode="valid")
    return float((bands[:-_STEP_BINS] / np.maximum(bands[_STEP_BINS:], 1e-30)).max())


def resize_spectrum(image: Volume, shape: tuple[int, int, int]) -> Volume:
    """Image on a grid of another matrix and the same field of view: frequencies are cut off or filled with 0.

    Beyond its ends the image is taken to go on as in a mirror (cosine transforms). The Fourier transform
    joins opposite ends, which do not fit where an image was cut to a box after it was filled: what rings
    there would be lost, 41 dB below the range of a brain that is cut to 48 voxels; so it is 54 dB.

    Parameters
    ----------
    image : (X, Y, Z) float array
    shape : (3,) tuple of int

    Returns
    -------
    resized : `shape` float32 array
        Of the same intensity; the outer borders of the first and last voxels stay in their place.
    """
    resized = np.asarray(image, np.float32)
    for axis, size in enumerate(shape):
        old = resized.shape[axis]
        if old != size:
            lines = np.moveaxis(fft.dct(resized, axis=axis, norm="ortho"), axis, -1)[..., :size]
            filled = np.pad(lines, [(0, 0), (0, 0), (0, size - lines.shape[-1])])
            resized = np.moveaxis(fft.idct(filled, norm="ortho"), -1, axis) * np.float32(np.sqrt(size / old))
    return np.ascontiguousarray(resized, np.float32)


def resize_mask(mask: Mask, shape: tuple[int, int, int]) -> Mask:
    """Mask on a grid as of `resize_spectrum`: the nearest voxel."""
    nearest = [(2 * np.arange(n) + 1) * old // (2 * n) for n, old in zip(shape, mask.shape, strict=True)]
    return mask[np.ix_(*nearest)]


def enlarge_map(volume: Volume, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A smooth map on the finer grid of `resize_spectrum`, by linear interpolation: it stays positive."""
    places = np.meshgrid(
        *[(np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(shape, volume.shape, strict=True)],
        indexing="ij",
        sparse=True,
    )
    return ndimage.map_coordinates(volume, np.broadcast_arrays(*places), order=1, mode="nearest")
