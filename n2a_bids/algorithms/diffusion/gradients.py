"""`Gradients`: b-values and directions in the world, angles between them, volumes that two tables share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from n2a_bids.contrasts import B0_THRESHOLD

_B_ROUNDING, _B_STEP = 0.05, 8.0
"""b-values of one measurement differ by at most this part, or this much (s/mm2)."""
_B0_SPAN = 16.0
"""In s/mm2: b0s of one table that are no farther apart are of one kind, not steps of a protocol."""
_TIE, _OTHER_B0, _NEVER = 1e-6, 4.0, 1e6
"""Cost of pairing volumes of other places, b0s that are written with other b, and what does not fit."""


def antipodal_angle_deg(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angle between axes: a direction and its opposite encode the same diffusion.

    Parameters
    ----------
    first, second : (N, 3) and (M, 3) arrays
        Unit vectors.

    Returns
    -------
    angles : (N, M) array
        Degrees, 0 to 90.

    Examples
    --------
    >>> antipodal_angle_deg(np.array([[1.0, 0, 0]]), np.array([[-1.0, 0, 0], [0, 1, 0]]))
    array([[ 0., 90.]])
    """
    cosine = np.abs(np.asarray(first) @ np.asarray(second).T)
    return np.degrees(np.arccos(np.clip(cosine, 0.0, 1.0)))


def match_tables(first: Gradients, second: Gradients, *, max_angle_deg: float = 5.0) -> list[tuple[int, int]]:
    """Pair the volumes of two series that measure the same thing.

    As many pairs as possible are made; among the ways to make them, the one with the smallest differences
    is taken, and volumes that measure the same are paired in their order. b-values of a pair differ by
    at most 5 % or 8 s/mm2: scanners round to 5, and protocols of low b-values step by 10. b0s without
    direction are paired whatever b is written for them, as long as each table has one kind of b0.

    Parameters
    ----------
    first, second : Gradients
        Tables; directions are compared in the world and up to sign.
    max_angle_deg : float
        Largest angle within a pair; of two b0s with directions, the angle only decides between equals.

    Returns
    -------
    pairs : list of (int, int)
        Index in `first` and in `second`, in the order of `first`; every volume is used at most once.
    """
    b_first, b_second = first.bvals[:, None], second.bvals[None, :]
    apart = np.abs(b_first - b_second) / np.maximum(_B_STEP, _B_ROUNDING * np.maximum(b_first, b_second))
    angles = antipodal_angle_deg(first.bvecs, second.bvecs)
    directed, also_directed = np.any(first.bvecs, axis=1)[:, None], np.any(second.bvecs, axis=1)[None, :]
    both_low = (b_first <= first.b0_threshold) & (b_second <= second.b0_threshold)
    angles = np.where(directed & also_directed, angles / np.where(both_low, 90.0, max_angle_deg), 0.0)
    fits = (apart <= 1) & (angles <= 1) & (both_low | (directed == also_directed))
    b0s = np.logical_and.outer(_plain_b0s(first), _plain_b0s(second))
    apart, fits = np.where(b0s & ~fits, _OTHER_B0, apart), fits | b0s
    offsets = np.subtract.outer(np.arange(first.bvals.size), np.arange(second.bvals.size))
    order = _TIE * (offsets / max(offsets.shape)) ** 2
    rows, columns = linear_sum_assignment(np.where(fits, apart + angles + order, _NEVER))
    return [(int(row), int(column)) for row, column in zip(rows, columns) if fits[row, column]]


def _plain_b0s(table: Gradients) -> NDArray[np.bool_]:
    """(C,) True for b0s without direction, where the table has no b0s of several b-values or directions."""
    b0s = table.is_b0
    one_kind = b0s.any() and not np.any(table.bvecs[b0s]) and np.ptp(table.bvals[b0s]) <= _B0_SPAN
    return b0s if one_kind else np.zeros_like(b0s)


@dataclass(frozen=True, slots=True)
class Gradients:
    """Diffusion encoding of the channels."""

    bvals: NDArray[np.float64]
    """(C,) b-values in s/mm2."""
    bvecs: NDArray[np.float64]
    """(C, 3) unit vectors of the world (RAS+); zero for volumes without direction."""
    b0_threshold: float = B0_THRESHOLD
    """Largest b-value, in s/mm2, that still counts as no diffusion weighting."""

    @property
    def is_b0(self) -> NDArray[np.bool_]:
        """(C,) True for volumes without diffusion weighting: no direction, or b at most the threshold."""
        return (self.bvals <= self.b0_threshold) | ~np.any(self.bvecs, axis=1)

    def subset(self, volumes: NDArray[np.intp] | Sequence[int] | slice) -> Gradients:
        """Table of some of the volumes, in the order given."""
        return replace(self, bvals=self.bvals[volumes], bvecs=self.bvecs[volumes])
