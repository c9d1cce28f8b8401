"""Moves micrograph exposures onto the first by their drift; where some drifted away, others stand in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from n2a_bids.algorithms.micrographs.drift import Drift, rotation_matrix

Image = NDArray[np.float32]
Weights = NDArray[np.bool_] | NDArray[np.float32]

_REFLECTED = 24
"""Pixels beyond each border, so that opposite borders do not jump."""
_RIM = 2
"""Pixels inside the border that a shift by a fraction draws from beyond it."""
_ROWS_AT_ONCE = 2048
_NEGLIGIBLE_PIXELS = 0.02
"""Shifts this near to whole pixels are taken as whole."""
_MOST_FLAGGED = 0.05
"""Part of a flagged pixel that a moved one may draw on without a flag of its own."""


def align(exposures: NDArray[np.floating], drift: Drift) -> tuple[Image, NDArray[np.bool_]]:
    """Move every exposure back onto the first.

    A shift is made of whole pixels and a fraction, which a phase in Fourier space makes: such noise keeps its
    level and stays white. Rotated exposures are interpolated once by quintic splines.

    Parameters
    ----------
    exposures : (R, X, Y) array
        Not modified.

    Returns
    -------
    aligned : (R, X, Y) float32 array
        The first is the exposure as it is.
    covered : (X, Y) bool array
        Where every exposure was measured; elsewhere those that were not hold their nearest pixel.
    """
    moved = [move_back(exposure, drift, index) for index, exposure in enumerate(exposures)]
    return np.stack([image for image, _ in moved]), np.all([inside for _, inside in moved], axis=0)


def move_back(exposure: NDArray[np.floating], drift: Drift, index: int) -> tuple[Image, NDArray[np.bool_]]:
    """One exposure, of an index in the drift, on the first; and where it was measured.

    Parameters
    ----------
    exposure : (X, Y) array
        Not modified.

    Returns
    -------
    moved : (X, Y) float32 array
    measured : (X, Y) bool array
    """
    shift, angle = drift.shift_pixels[index], drift.rotation_deg[index]
    return _turn_back(exposure, shift, np.radians(angle)) if angle else shift_back(exposure, shift)


def move_flags_back(flags: NDArray[np.bool_], drift: Drift, index: int) -> NDArray[np.bool_]:
    """(X, Y) pixels of a moved exposure that draw on flagged ones, (X, Y), or their neighbours.

    A shift by a fraction spreads what is cut off at a saturated pixel, or lost.
    """
    spread = ndimage.binary_dilation(flags).astype(np.float32)
    return move_back(spread, drift, index)[0] > _MOST_FLAGGED


def move_parts_back(part: NDArray[np.float32], drift: Drift) -> NDArray[np.float32]:
    """Parts of exposures that were measured, moved onto the first exposure.

    Parameters
    ----------
    part : (R, X, Y, Z) float array
        Of the frames of each exposure; not modified.

    Returns
    -------
    moved : (R, X, Y, Z) float32 array
    """
    moved = [
        np.stack([move_back(plane, drift, index)[0] for plane in np.moveaxis(one, -1, 0)], axis=-1)
        for index, one in enumerate(part)
    ]
    return np.clip(np.stack(moved), 0, 1)


def exposure_weights(measured: NDArray[np.bool_], part: NDArray[np.float32] | None) -> Weights:
    """By how much each exposure tells the signal of a pixel.

    Exposures that were measured in full tell it alone; where there is none, parts do. What none has measured
    stays as the first was filled.

    Parameters
    ----------
    measured : (R, X, Y, Z) bool array
        Where exposures were measured in full; not modified.
    part : (R, X, Y, Z) float array, optional
        Of their frames, where they are sums.

    Returns
    -------
    weights : (R, X, Y, Z) array
        Of a pixel, their sum is the number of whole exposures that tell it, if no more than a part of one.
    """
    if part is None:
        weights = measured.copy()
        weights[0] |= ~measured.any(axis=0)
        return weights
    weights = np.where(measured.any(axis=0), measured, part).astype(np.float32)
    weights[0] += weights.sum(axis=0) == 0
    return weights


def fill_unmeasured(
    data: NDArray[np.float32],
    measured: NDArray[np.bool_],
    weights: Weights,
    gains: NDArray[np.float64],
) -> None:
    """Give exposures, where they were not measured, the mean of those that were, in their own unit.

    Parameters
    ----------
    data : (R, X, Y, Z, C) float array
        Modified.
    measured, weights
        As of `exposure_weights`.
    gains : (R,) array
        From the unit of each exposure to that of the first.
    """
    gaps = ~measured.all(axis=0)
    if not gaps.any():
        return
    factors = gains.astype(np.float32)[:, None, None]
    values, shares = data[:, gaps], weights[:, gaps][..., None]
    mean = (values * factors * shares).sum(axis=0) / shares.sum(axis=0, dtype=np.float32)
    data[:, gaps] = np.where(measured[:, gaps][..., None], values, mean / factors)


def shift_back(image: NDArray[np.floating], shift: NDArray[np.float64]) -> tuple[Image, NDArray[np.bool_]]:
    """Image whose pixel x holds what the image holds at x + shift, and where that was measured.

    Parameters
    ----------
    image : (X, Y) array
    shift : (2,) float array
        Pixels, of any length.

    Returns
    -------
    shifted : (X, Y) float32 array
    covered : (X, Y) bool array
    """
    whole = np.round(shift).astype(int)
    fraction = np.where(np.abs(shift - whole) > _NEGLIGIBLE_PIXELS, shift - whole, 0.0)
    covered = np.ones(image.shape, bool)
    shifted = image.astype(np.float32)
    for axis in range(2):
        size = image.shape[axis]
        rim = _RIM if fraction[axis] else 0
        places = np.arange(size) + whole[axis]
        inside = (places >= rim) & (places <= size - 1 - rim)
        covered &= np.expand_dims(inside, 1 - axis)
        if whole[axis]:
            shifted = np.take(shifted, np.clip(places, 0, size - 1), axis=axis)
        if fraction[axis]:
            _shift_by_fraction(shifted, axis, float(fraction[axis]))
    return shifted, covered


def _shift_by_fraction(image: Image, axis: int, fraction: float) -> None:
    """Shift along one axis by less than a pixel, in place, some rows at a time."""
    lines = image if axis == 1 else image.T
    size = lines.shape[1]
    reach = min(_REFLECTED, size - 1)
    length = fft.next_fast_len(size + 2 * reach, real=True)
    phase = np.exp(2j * np.pi * np.fft.rfftfreq(length) * fraction).astype(np.complex64)
    if length % 2 == 0:
        # The highest frequency has no phase of its own.
        phase[-1] = np.cos(np.pi * fraction)
    for start in range(0, len(lines), _ROWS_AT_ONCE):
        part = lines[start : start + _ROWS_AT_ONCE]
        padded = np.pad(part, ((0, 0), (reach, length - size - reach)), mode="reflect")
        moved = fft.irfft(fft.rfft(padded, axis=1) * phase, length, axis=1)
        lines[start : start + _ROWS_AT_ONCE] = moved[:, reach : reach + size]


def _turn_back(
    image: NDArray[np.floating], shift: NDArray[np.float64], angle: float
) -> tuple[Image, NDArray[np.bool_]]:
    middle = (np.array(image.shape) - 1) / 2
    turn = rotation_matrix(angle)
    offset = middle + shift - turn @ middle
    rotated = ndimage.affine_transform(image.astype(np.float32), turn, offset, order=5, mode="nearest")
    x, y = np.ogrid[: image.shape[0], : image.shape[1]]
    covered = np.ones(image.shape, bool)
    for axis, size in enumerate(image.shape):
        place = turn[axis, 0] * x + turn[axis, 1] * y + offset[axis]
        covered &= (place >= _RIM) & (place <= size - 1 - _RIM)
    return rotated, covered
