"""Fields of shading on blocks of a head: how smooth they are, and how they go on where none was found."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.masked_filters import blur
from n2a_bids.algorithms.normalization import Mask

_ODD, _ROUNDS_ODD, _AROUND_ODD_BLOCKS, _MOST_ODD = 0.2, 6, 3, 0.25
"""Of the logarithm against a cubic of the place, rounds, margin, and part of the brain that may be odd. Real
coils stay below 0.21; lesions that take up contrast agent are above."""
_EXTENDED_BLOCKS = 3
"""Beyond these, a field stays as it is."""
_LEAST_WEIGHT = 1e-3
"""Of the kernel on even blocks, below which nothing around tells what is left of the cubic."""


def smoothness(logarithm: NDArray[np.floating], brain: Mask) -> float:
    """Part of the variance of a field that a quadratic of the place explains, 0 to 1.

    Parameters
    ----------
    logarithm : (N,) array
        Of the field, in the blocks of the brain.
    brain : (X, Y, Z) bool array
        N blocks.
    """
    rest = logarithm - _polynomial(logarithm, brain, np.ones(logarithm.size, bool), degree=2)
    variance = float(np.var(logarithm))
    return 1 - float(np.var(rest)) / variance if variance > 0 else 1.0


def odd_blocks(logarithm: NDArray[np.floating], brain: Mask) -> Mask:
    """Blocks of a brain and around them whose field no cubic of the place tells, fitted to the others.

    Parameters
    ----------
    logarithm, brain
        As of `smoothness`.

    Returns
    -------
    odd : (X, Y, Z) bool array
        Empty where they would be so many that the field is just not smooth.
    """
    told = np.ones(logarithm.size, bool)
    for _ in range(_ROUNDS_ODD):
        told = np.abs(logarithm - _polynomial(logarithm, brain, told, degree=3)) < _ODD
        if told.mean() < 1 - _MOST_ODD:
            break
    odd = np.zeros_like(brain)
    odd[brain] = ~told
    odd = brain & ndimage.binary_dilation(odd, iterations=_AROUND_ODD_BLOCKS)
    return odd if odd.sum() <= _MOST_ODD * brain.sum() else np.zeros_like(brain)


def bridge(
    factor: NDArray[np.float32], brain: Mask, odd: Mask, sd_blocks: NDArray[np.float64]
) -> NDArray[np.float32]:
    """A factor that goes on through odd blocks as the cubic does, with what is left of it around them.

    Parameters
    ----------
    factor : (X, Y, Z) array
        Above zero; true in the brain without the odd blocks.
    brain, odd : (X, Y, Z) bool arrays
    sd_blocks : (3,) array
        SD of the kernel within which the surroundings tell.
    """
    even, logarithm, cubic = brain & ~odd, np.log(factor), np.zeros_like(factor)
    cubic[brain] = _polynomial(logarithm[brain], brain, ~odd[brain], degree=3)
    weight = blur(even.astype(np.float32), sd_blocks)
    rest = blur(np.where(even, logarithm - cubic, 0).astype(np.float32), sd_blocks)
    around = np.divide(rest, weight, out=np.zeros_like(rest), where=weight > _LEAST_WEIGHT)
    return np.where(odd, np.exp(cubic + around), factor)


def on_voxels(
    blocks: NDArray[np.float32], filled: Mask, steps: Sequence[int], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Logarithm of a field, linear between the centres of filled blocks, on the voxels they were made of."""
    logarithm = np.log(blocks, out=np.zeros_like(blocks), where=filled)
    matrix = np.diag([1 / step for step in steps])
    offset = [-(step - 1) / 2 / step for step in steps]
    extended = _extended(logarithm, filled)
    return ndimage.affine_transform(extended, matrix, offset, shape, order=1, mode="nearest")


def _extended(field: NDArray[np.float32], filled: Mask) -> NDArray[np.float32]:
    """A field beyond the filled blocks: it goes on as straight as it came there, for some blocks."""
    nearest = ndimage.distance_transform_edt(~filled, return_distances=False, return_indices=True)
    beyond = np.indices(field.shape) - nearest
    steps = np.sqrt((beyond**2).sum(axis=0))
    beyond = np.rint(beyond * np.minimum(1, _EXTENDED_BLOCKS / np.maximum(steps, 1))).astype(int)
    mirrored = tuple(
        np.clip(place, 0, size - 1) for place, size in zip(nearest - beyond, field.shape, strict=True)
    )
    border = field[tuple(nearest)]
    return np.where(filled[mirrored], 2 * border - field[mirrored], border)


def _polynomial(
    values: NDArray[np.floating], brain: Mask, fitted: NDArray[np.bool_], degree: int
) -> NDArray[np.float64]:
    """Values of the blocks of a brain as a polynomial of the place tells them, by those that are fitted."""
    places = np.argwhere(brain).astype(float)
    places = (places - places.mean(axis=0)) / np.maximum(places.std(axis=0), 1)
    powers = [
        power
        for order in range(1, degree + 1)
        for power in itertools.combinations_with_replacement(range(3), order)
    ]
    terms = np.stack([np.ones(len(places)), *(places[:, power].prod(axis=1) for power in powers)], axis=1)
    return terms @ np.linalg.lstsq(terms[fitted], values[fitted], rcond=None)[0]
