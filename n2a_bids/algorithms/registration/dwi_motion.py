"""Estimates head motion between the volumes of a diffusion series, each against its prediction.

Volumes differ in contrast, so each is registered to what all others of similar
b-value together predict for its own b-value and direction. A motion is believed as
far as it exceeds its standard error. Motions are rigid, in the frame of the voxel
axes (mm), and map the corrected grid to the volume as acquired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.diffusion.volume_comparison import Comparison, predictions, row_target, target_row
from n2a_bids.algorithms.diffusion.volume_prediction import NOISE_LIMITS, noise_over_signal
from n2a_bids.algorithms.distortion.eddy_currents import (
    LEAST_MM,
    EddyCurrents,
    believed_currents,
    can_be_told,
    relative_gradients,
)
from n2a_bids.algorithms.registration.dwi_contrasts import AlignContrasts, align_groups, contrast_groups
from n2a_bids.algorithms.registration.motion_over_time import believed_course, join_in_time
from n2a_bids.algorithms.registration.rigid_fit import (
    SMOOTHING_MM,
    SmoothImage,
    displacement_mm,
    fit_motion,
    fit_sheared,
    motion_covariance,
    motion_matrix,
    moved_points,
    sample_points,
    size_factor,
)
from n2a_bids.algorithms.transforms import Affine, Shear, inverse

_SMOOTHING_OF_NOISE_VOXELS = (0.7, 0.55)
"""The least in the noisiest series (`NOISE_LIMITS`), in quieter ones less. Interpolation between voxels takes
away noise that was not smoothed, so that noisy volumes fit better where they move, and all move farther from
round to round. Volumes of a still head (4 mm, 8 directions each at b = 1000 and 2000, noise of an eighth of a
b0) moved by 0.4 to 11 mm in four cases with 0.6 and 0.375, by 0.3 to 1.4 mm with these. In quiet series
contrast of large voxels looks more like motion, the more they are smoothed."""
_STEP_VOXELS = (0.2, 0.05)
"""Motion of a series has come to rest at either smoothing where a round moves no volume farther."""
_MOST_ROUNDS = 8
_CURRENT_ROUNDS = (2, 1)
"""Times that eddy currents are looked for at either smoothing: from the second on, what others predict is
without them. A third changes displacements of up to 4 mm by 0.1 mm."""


@dataclass(frozen=True, slots=True)
class EstimatedMotion:
    """Motion of every volume of a series, and whether its estimation came to rest."""

    voxel_maps: NDArray[np.float64]
    """(C, 4, 4) corrected voxel to voxel of the volume; the identity for the first b0 (or first volume)."""
    rigid_maps: NDArray[np.float64]
    """(C, 4, 4) the same without eddy currents."""
    n_rounds: int
    """Times that every volume was registered to what the others predict."""
    last_step_voxels: float
    """How far the last round moved a brain voxel of any volume at most, relative to the others."""
    converged: bool
    currents: EddyCurrents | None = None
    """What was found of eddy currents; None where there are none, or none were looked for."""


def estimate_motion(
    data: NDArray[np.float32],
    gradients: Gradients,
    mask: NDArray[np.bool_],
    voxel_size_mm: tuple[float, float, float],
    align_shell: AlignContrasts,
    phase_encoding_axis: int | None = None,
    known_currents: EddyCurrents | None = None,
    times: Sequence[int] | None = None,
) -> EstimatedMotion:
    """Motion of every volume relative to the first one without diffusion weighting.

    Parameters
    ----------
    data : (X, Y, Z, C) float array
        Series as acquired.
    gradients : Gradients
        Its table.
    mask : (X, Y, Z) bool array
        Brain.
    voxel_size_mm : (3,) floats
    align_shell : callable
        Given the mean of the lowest b-values and that of others too far from them to be predicted, each
        without its own motion, the (4, 4) map from voxels of the first to voxels of the second. Their
        contrasts differ: CSF is bright in one and dark in the other.
    phase_encoding_axis : int, optional
        Axis of the array along which eddy currents distort the volumes; by default they are not looked for.
    known_currents : EddyCurrents, optional
        Undone from the start; others are not looked for.
    times : sequence of C ints, optional
        When the volumes were acquired, in volumes; in their order by default.
    """
    compared = _comparison(data, gradients, mask, voxel_size_mm, times)
    groups, motions = compared.groups, np.zeros((data.shape[-1], 6))
    axis = phase_encoding_axis if known_currents is None and can_be_told(gradients) else None
    rests_mm = np.array(_STEP_VOXELS) * min(voxel_size_mm)
    smoothings_mm = _smoothings_mm(mask, voxel_size_mm, compared.noise)
    steps_mm: list[float] = []
    currents = known_currents
    for smoothing_mm, rest_mm, n_rounds in zip(smoothings_mm, rests_mm, _CURRENT_ROUNDS, strict=True):
        # Not named, so that images of one smoothing are gone when those of the next are made.
        smoothed = (SmoothImage(volume, voxel_size_mm, smoothing_mm) for volume in np.moveaxis(data, -1, 0))
        search = None if axis is None else (axis, n_rounds)
        found, currents = _settle(list(smoothed), compared, motions, rest_mm, currents, search)
        steps_mm += found
    errors = join_in_time(motions, groups, compared.times)
    errors_voxels = [displacement_mm(one, compared.points) / float(np.mean(voxel_size_mm)) for one in errors]
    shears = [shear.matrix if shear else np.eye(4) for shear in _shears(currents, gradients)]
    distortion = _between_voxels(shears, voxel_size_mm)
    moving = [motion_matrix(motion, compared.points) for motion in motions]
    maps = distortion @ _between_voxels(moving, voxel_size_mm)
    align_groups(data, maps, groups, gradients.bvals, mask, align_shell, errors_voxels)
    moved = _from_reference(maps, gradients, groups)
    rigid = np.stack([inverse(one) @ whole for one, whole in zip(distortion, moved)]) if currents else moved
    step = steps_mm[-1] / min(voxel_size_mm)
    came_to_rest = step < _STEP_VOXELS[-1]
    return EstimatedMotion(moved, rigid, len(steps_mm), round(step, 4), came_to_rest, currents)


def _comparison(
    data: NDArray[np.float32],
    gradients: Gradients,
    mask: NDArray[np.bool_],
    voxel_size_mm: tuple[float, float, float],
    times: Sequence[int] | None,
) -> Comparison:
    when = np.arange(data.shape[-1]) if times is None else np.asarray(times)
    return Comparison(
        sample_points(mask, voxel_size_mm),
        [group[np.argsort(when[group])] for group in contrast_groups(gradients)],
        gradients,
        noise_over_signal(data, gradients, mask),
        when.astype(float),
        size_factor(mask, voxel_size_mm),
    )


def _from_reference(maps: NDArray, gradients: Gradients, groups: list[NDArray[np.intp]]) -> NDArray:
    """(C, 4, 4) maps as seen from the first b0; from the first volume where there is none."""
    reference = int(np.argmax(gradients.is_b0)) if gradients.is_b0.any() else int(groups[0][0])
    moved = maps @ inverse(maps[reference])
    # Exactly the identity for the reference, whatever rounding leaves.
    moved[reference] = np.eye(4)
    return moved


def _between_voxels(
    matrices: list[NDArray[np.float64]], voxel_size_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    """(C, 4, 4) matrices of mm as maps of voxels."""
    scale = np.diag([*voxel_size_mm, 1.0])
    return np.stack([Affine(one).between_voxels(scale, scale) for one in matrices])


def _smoothings_mm(
    mask: NDArray[np.bool_], voxel_size_mm: tuple[float, float, float], noise: float
) -> NDArray[np.float64]:
    """SD of each round: less in a small head, and not much less than a voxel where there is noise."""
    quiet, noisy = NOISE_LIMITS
    least_voxels = np.array(_SMOOTHING_OF_NOISE_VOXELS) * (noise - quiet) / (noisy - quiet)
    usual_mm = np.array(SMOOTHING_MM) * size_factor(mask, voxel_size_mm)
    return np.maximum(usual_mm, least_voxels * np.cbrt(np.prod(voxel_size_mm)))


def _settle(
    images: list[SmoothImage],
    compared: Comparison,
    motions: NDArray,
    tolerance_mm: float,
    currents: EddyCurrents | None,
    search: tuple[int, int] | None,
) -> tuple[list[float], EddyCurrents | None]:
    """Find motion and eddy currents; changes `motions`, and returns how far rounds moved (mm).

    Eddy currents are looked for along the axis of `search`, in as many rounds as it says. What they do looks
    like motion that no other volume has: where some are found, both are found again by what the others
    predict without them.
    """
    _undo(images, currents, compared.gradients)
    steps_mm = _come_to_rest(images, compared, motions, tolerance_mm)
    if search is None:
        return steps_mm, currents
    axis, n_rounds = search
    for _ in range(n_rounds):
        before, currents = currents, _find_currents(images, compared, motions, currents, axis)
        if currents is None and before is None:
            break
        _undo(images, currents, compared.gradients)
        steps_mm += _come_to_rest(images, compared, motions, tolerance_mm)
    return steps_mm, currents


def _shears(currents: EddyCurrents | None, gradients: Gradients) -> list[Shear | None]:
    """Distortion of each volume; None where there is none."""
    strength = relative_gradients(gradients)
    return [currents.shear(one) if currents and one.any() else None for one in strength]


def _undo(images: list[SmoothImage], currents: EddyCurrents | None, gradients: Gradients) -> None:
    for image, shear in zip(images, _shears(currents, gradients), strict=True):
        image.shear = shear


def _find_currents(
    images: list[SmoothImage],
    compared: Comparison,
    motions: NDArray,
    currents: EddyCurrents | None,
    axis: int,
) -> EddyCurrents | None:
    """Eddy currents by the distortion of every single volume; shifts that are theirs leave `motions`."""
    strength = relative_gradients(compared.gradients)
    known_mm = strength @ currents.shift_mm if currents else np.zeros(len(images))
    differences, slopes, fitted = np.zeros_like(strength), np.zeros((len(images), 3)), motions.copy()
    for members in compared.groups:
        if members.size == 1:
            continue
        seen, weights, trust = predictions(images, compared, motions, members)
        differences[members] = strength[members] - weights @ strength[members]
        for place, index in enumerate(members):
            if strength[index].any():
                target = row_target(weights[place] @ seen, trust)
                found = fit_sheared(images[index], compared.points, target, motions[index], axis)
                fitted[index], slopes[index] = found
    if currents is not None:
        # What is left beside the known ones, and these as they would show.
        slopes += (differences - strength) @ currents.slopes
    shifts_mm = fitted[:, 3 + axis] + known_mm
    believed = believed_currents(
        *(shifts_mm, slopes, strength, differences), compared.points, axis, LEAST_MM * compared.size
    )
    if believed is not None:
        motions[:] = fitted
        motions[:, 3 + axis] -= strength @ believed.shift_mm
    # Where none are believed, the motion stays as it was found without them.
    motions[:, 3 + axis] += known_mm
    return believed


def _come_to_rest(
    images: list[SmoothImage], compared: Comparison, motions: NDArray, tolerance_mm: float
) -> list[float]:
    """How far (mm) each round moved any volume, until one moves none beyond that; changes `motions`."""
    steps_mm: list[float] = []
    while len(steps_mm) < _MOST_ROUNDS and (not steps_mm or steps_mm[-1] >= tolerance_mm):
        before = motions.copy()
        _align_to_predictions(images, compared, motions)
        steps_mm.append(_largest_step(before, motions, compared.points, compared.groups))
    return steps_mm


def _align_to_predictions(images: list[SmoothImage], compared: Comparison, motions: NDArray) -> None:
    """Register every volume to what the others of its group predict; `motions` is changed.

    What is kept is the most credible course of the head, given the error of each volume: a motion within
    its error would be noise, and the next round would follow it.
    """
    points = compared.points
    for members in compared.groups:
        if members.size == 1:
            continue
        seen, weights, trust = predictions(images, compared, motions, members)
        for place, index in enumerate(members):
            target = row_target(weights[place] @ seen, trust)
            motions[index] = fit_motion(images[index], points, target, motions[index])
            # At once, for the next to see: two volumes that moved towards each other would change places.
            seen[place] = target_row(images[index].target(points, motions[index]))
        errors = [
            motion_covariance(images[index], points, row_target(weight @ seen, trust), motions[index])
            for index, weight in zip(members, weights)
        ]
        variances = np.diagonal(errors, axis1=1, axis2=2)
        for part in (slice(0, 3), slice(3, 6)):
            measured = motions[members, part]
            motions[members, part] = believed_course(measured, variances[:, part], compared.times[members])


def _largest_step(before: NDArray, after: NDArray, points: NDArray, groups: list[NDArray[np.intp]]) -> float:
    """How far any volume was moved relative to its group, in mm at the point of the brain moved farthest."""
    some = points[:: max(1, len(points) // 200)]
    moved = np.stack([moved_points(some, new) - moved_points(some, old) for old, new in zip(before, after)])
    for members in groups:
        # What all volumes of a group do alike is no motion between them.
        moved[members] -= moved[members].mean(axis=0)
    return float(np.linalg.norm(moved, axis=-1).max())
