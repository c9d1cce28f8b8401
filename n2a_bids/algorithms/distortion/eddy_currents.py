"""Estimates what eddy currents of the diffusion gradients do to the volumes of a series.

The field that they leave changes linearly across the head, so that a volume is shifted, sheared and stretched
along its phase-encoding axis; and it is proportional to the gradient, so that twelve numbers tell it for all
volumes of a series. Each volume is compared with what the others predict for it, as for its motion; what
of its distortion follows its gradient is believed. That a field of first order tells most, and that what
follows the gradients parts it from motion, is from Andersson and Sotiropoulos, NeuroImage 125 (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.transforms import Shear

_FEWEST_VOLUMES = 8
"""With diffusion weighting, by which three coefficients are told from noise."""
_LEAST_SPREAD = 0.15
"""Of gradients along any direction, as a part of the largest: in fewer the coefficients are not known."""
_CHANCE = 1e-3
"""Of such a dependence on the gradients where there is none, below which it is believed."""
_ERROR_OF_SLOPES = 0.002
"""Of a volume beside what others predict, by contrast, in mm per mm."""
LEAST_MM = 0.2
"""A distortion that moves no point of the brain farther is left; less in the small heads of animals."""
_AGREEMENT = 0.7
"""Least cosine between the slopes of series that have them in common; of six real pairs
five have 0.94 to 0.99, and one that hardly moves 0.69."""


@dataclass(frozen=True, slots=True)
class EddyCurrents:
    """Displacement along the phase-encoding axis, linear in the gradient of a volume and in the position."""

    axis: int
    """Phase-encoding axis of the array."""
    centre_mm: NDArray[np.float64]
    """(3,) centre of the brain, in the frame of the voxel axes."""
    shift_mm: NDArray[np.float64]
    """(3,) displacement of the centre by a gradient of the strongest volume along x, y and z of the world."""
    slopes: NDArray[np.float64]
    """(3, 3) displacement per mm along each array axis (second index), by such a gradient (first)."""
    certainty: NDArray[np.float64]
    """(3, 3) inverse covariance with which the volumes tell each column of `slopes`, and"""
    evidence: NDArray[np.float64]
    """(3, 3) the same times what they tell, before doubtful parts were taken off."""

    def shear(self, gradient: NDArray[np.float64]) -> Shear:
        """What a (3,) gradient, over that of the strongest volume, does to a volume."""
        return Shear(self.axis, self.centre_mm, float(gradient @ self.shift_mm), gradient @ self.slopes)


def relative_gradients(gradients: Gradients) -> NDArray[np.float64]:
    """(C, 3) diffusion gradient of each volume over the strongest: b grows with its square.

    Examples
    --------
    >>> table = Gradients(np.array([0.0, 500.0, 2000.0]), np.array([[0.0, 0, 0], [1, 0, 0], [0, -1, 0]]))
    >>> relative_gradients(table).tolist()
    [[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, -1.0, 0.0]]
    """
    bvals = np.where(gradients.is_b0, 0.0, gradients.bvals)
    strongest = float(bvals.max(initial=0.0))
    size = np.sqrt(bvals / strongest) if strongest > 0 else bvals
    return size[:, None] * gradients.bvecs + 0.0


def can_be_told(gradients: Gradients) -> bool:
    """Whether a table has a b0 and enough gradients in all directions of space."""
    strength = relative_gradients(gradients)[~gradients.is_b0]
    if len(strength) < _FEWEST_VOLUMES or not gradients.is_b0.any():
        return False
    spread = np.linalg.svd(strength - strength.mean(axis=0), compute_uv=False)
    return bool(spread[-1] / np.sqrt(len(strength)) > _LEAST_SPREAD)


def believed_currents(
    shifts_mm: NDArray[np.float64],
    slopes: NDArray[np.float64],
    strength: NDArray[np.float64],
    compared: NDArray[np.float64],
    points_mm: NDArray[np.float64],
    axis: int,
    least_mm: float = LEAST_MM,
) -> EddyCurrents | None:
    """What of the distortions of single volumes is proportional to their gradients.

    Parameters
    ----------
    shifts_mm : (C,) array
        Displacement of the centre of the brain along the phase-encoding axis, but for a constant.
    slopes : (C, 3) array
        Displacement per mm along each array axis, less that of the image that the others predict.
    strength : (C, 3) array
        `relative_gradients`; those of volumes without weighting are zero.
    compared : (C, 3) array
        The same less that of the predicted image.
    points_mm : (N, 3) array
        Of the brain.
    axis : int
        Phase-encoding axis.
    least_mm : float
        What moves no point of the brain farther is left.

    Returns
    -------
    currents : EddyCurrents or None
        None where chance may have made them, or where they move nothing.
    """
    weighted = np.any(strength != 0, axis=1)
    centre, extent_mm = points_mm.mean(axis=0), points_mm.std(axis=0)
    shift, shifts_are_sure = _proportional(_centred(shifts_mm[weighted, None]), _centred(strength[weighted]))
    by_extent, slopes_are_sure = _proportional(slopes[weighted] * extent_mm, compared[weighted])
    if not slopes_are_sure:
        return None
    shift_mm = shift[:, 0] if shifts_are_sure else np.zeros(3)
    certainty, evidence = _evidence(by_extent / extent_mm, slopes[weighted], compared[weighted])
    found = _without_doubtful(certainty, evidence)
    currents = EddyCurrents(axis, centre, shift_mm, found, certainty, evidence)
    some = points_mm[:: max(1, len(points_mm) // 500)]
    moved_mm = max(np.abs(currents.shear(gradient).along(some)).max() for gradient in strength[weighted])
    return currents if moved_mm > least_mm else None


def shared_currents(
    found: Sequence[EddyCurrents], directions: Sequence[NDArray[np.float64]]
) -> list[EddyCurrents | None]:
    """Eddy currents of series of one protocol, which have them in common, each in its own frame.

    What all gradients of a table have in common hardly shows in one series; what is done to all volumes of
    two alike differs, where each is corrected by itself, by twice the error of that. Displacements are the
    same or, with opposite phase encoding or a table that a converter turned round, opposite: which it is,
    the series tell themselves.

    Parameters
    ----------
    found : sequence of EddyCurrents
        Of each series by itself, with one axis of phase encoding in the world and one readout time.
    directions : sequence of (3, 3) arrays
        Axes of each array in the world, as columns.

    Returns
    -------
    shared : list of EddyCurrents or None
        With the slopes that all tell who agree with a series; None for one with which no other does. Shifts
        stay as found: they look like motion, and are undone with it.
    """
    turns = [
        float(np.sign(axes[:, one.axis] @ directions[0][:, found[0].axis]))
        for one, axes in zip(found, directions, strict=True)
    ]
    in_world = [
        turn * np.stack((one.slopes @ axes.T, one.evidence @ axes.T))
        for one, axes, turn in zip(found, directions, turns, strict=True)
    ]
    slopes = np.array([one[0].ravel() for one in in_world])
    slopes /= np.linalg.norm(slopes, axis=1, keepdims=True)
    shared: list[EddyCurrents | None] = []
    for one, axes, turn, agreement in zip(found, directions, turns, slopes @ slopes.T, strict=True):
        agreeing = np.flatnonzero(np.abs(agreement) >= _AGREEMENT)
        if len(agreeing) < 2:
            shared.append(None)
            continue
        certainty = np.sum([found[other].certainty for other in agreeing], axis=0)
        evidence = np.sum([np.sign(agreement[other]) * in_world[other][1] for other in agreeing], axis=0)
        told, evidence = turn * _without_doubtful(certainty, evidence) @ axes, turn * evidence @ axes
        shared.append(replace(one, slopes=told, certainty=certainty, evidence=evidence))
    return shared


def _evidence(
    found: NDArray[np.float64], slopes: NDArray[np.float64], compared: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Certainty and evidence of `EddyCurrents`, from coefficients that fit best and what they leave."""
    left = slopes - compared @ found
    error = float((left**2).mean()) + _ERROR_OF_SLOPES**2
    return compared.T @ compared / error, compared.T @ slopes / error


def _without_doubtful(certainty: NDArray[np.float64], evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients without what hangs on differences that contrast can make (ridge regression).

    What all gradients of a table have in common hardly shows where volumes are compared with each other.
    """
    told, *_ = np.linalg.lstsq(certainty, evidence, rcond=None)
    return np.linalg.solve(certainty + np.eye(3) / float((told**2).mean()), evidence)


def _centred(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows - rows.mean(axis=0)


def _proportional(
    values: NDArray[np.float64], design: NDArray[np.float64]
) -> tuple[NDArray[np.float64], bool]:
    """Coefficients of (C, 3) rows in (C, K) values, and whether all together are beyond chance (F test)."""
    found, *_ = np.linalg.lstsq(design, values, rcond=None)
    n_columns = values.shape[1]
    explained, left = design @ found, values - design @ found
    freedom = n_columns * (len(values) - 4)
    ratio = ((explained**2).sum() / (3 * n_columns)) / max((left**2).sum() / freedom, 1e-30)
    return found, bool(stats.f.sf(ratio, 3 * n_columns, freedom) < _CHANCE)
