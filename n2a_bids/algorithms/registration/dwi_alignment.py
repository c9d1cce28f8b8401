"""Rigid motion between diffusion series, from their b0s, whatever grid each of them has, and its quality."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.normalization import Mask, Volume
from n2a_bids.algorithms.registration.alignment import AlignmentQC, QCThresholds, motion_reasons
from n2a_bids.algorithms.registration.dwi_motion import register_rigid
from n2a_bids.algorithms.registration.noise_attenuation import PairNoise
from n2a_bids.algorithms.registration.resampling import field_of_view
from n2a_bids.algorithms.registration.rigid import first_guess
from n2a_bids.algorithms.registration.similarity import NO_NOISE, smooth_correlation, structure_correlation
from n2a_bids.algorithms.registration.transforms import Affine, Matrix, world_points

_CONVERGED_VOXELS = 0.05
"""A step that moves no brain voxel farther is the last one."""
_MOST_ROUNDS = 12
_SMOOTHING_MM = 2.0
_STRUCTURE_MM = 1.2
_SURELY_ALIKE = 0.97
"""Correlation of one head, after alignment, that no mirror image reaches."""
_LEAST_MATCH, _LARGEST_MISMATCH_KEPT = 0.9, 0.5
"""Correlation that a mirror image must have, and the part of the mismatch that it may keep."""
_BAND_RATIO = 2.5
"""Coarse over fine scale of the structure that is compared."""


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image, where its voxels lie in the world, and the brain in it."""

    image: Volume
    """(X, Y, Z) intensities."""
    affine: Matrix
    """(4, 4) voxel to world mm."""
    mask: Mask
    """(X, Y, Z) brain."""

    @property
    def voxel_size_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel."""
        return tuple(float(size) for size in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def mean_voxel_size_mm(self) -> float:
        """Geometric mean of the edge lengths."""
        return float(np.prod(self.voxel_size_mm) ** (1 / 3))

    @property
    def brain_points(self) -> NDArray[np.float64]:
        """(N, 3) world coordinates of about two thousand brain voxels."""
        voxels = np.argwhere(self.mask)
        return world_points(voxels[:: max(1, len(voxels) // 2000)], self.affine)


@dataclass(frozen=True, slots=True)
class SeriesRegistration:
    """Rigid motion between two series, and how it was found."""

    transform: Affine
    """World of the reference to world of the other series."""
    n_rounds: int
    last_step_voxels: float
    """Largest displacement of a brain voxel by the last round."""

    @property
    def converged(self) -> bool:
        """Whether another round would change nothing."""
        return self.last_step_voxels < _CONVERGED_VOXELS


def register_series(reference: PlacedImage, moving: PlacedImage) -> SeriesRegistration:
    """Find the rigid motion between two b0s of one contrast.

    The start is what the headers say; where the two brains laid over each other agree clearly better, that.
    From there, the moving image is shown on the grid of the reference, registered by least squares, and
    shown again until nothing moves any more.

    Parameters
    ----------
    reference, moving : PlacedImage
        Mean b0 of each series. Matrix, storage order, angle and voxel size may differ.

    Returns
    -------
    registration : SeriesRegistration
    """
    transform = find_start(reference, moving)
    points, step_voxels, rounds = reference.brain_points, np.inf, 0
    while step_voxels >= _CONVERGED_VOXELS and rounds < _MOST_ROUNDS:
        shown, seen = show_on(moving, transform, reference)
        common = reference.mask & seen
        if not common.any():
            break
        gain = reference.image[common].mean() / max(float(shown[common].mean()), 1e-12)
        # Where the moving image ends, the reference continues it: its border is no edge to register.
        filled = np.where(seen, gain * shown, reference.image)
        voxel_map = register_rigid(
            reference.image, filled, common, reference.voxel_size_mm, beyond_error=True
        )
        step = Affine.from_voxels(voxel_map, reference.affine, reference.affine)
        transform = transform @ step
        step_voxels = float(step.displacement_mm(points).max()) / reference.mean_voxel_size_mm
        rounds += 1
    return SeriesRegistration(transform, rounds, step_voxels)


def find_start(reference: PlacedImage, moving: PlacedImage) -> Affine:
    """Where the registration of two heads starts: see `first_guess`."""
    brains = [np.where(placed.mask, placed.image, 0).astype(np.float32) for placed in (reference, moving)]
    return Affine(first_guess(brains[0], reference.affine, brains[1], moving.affine))


def brain_overlap(reference: PlacedImage, moving: PlacedImage) -> float:
    """Dice coefficient of two brains where the headers put them, on the grid of the first."""
    other = PlacedImage(moving.mask.astype(np.float32), moving.affine, moving.mask)
    shown, seen = show_on(other, Affine(), reference)
    there = (shown > 0.5) & seen
    total = np.count_nonzero(there) + np.count_nonzero(reference.mask)
    return 2 * np.count_nonzero(there & reference.mask) / max(total, 1)


def judge_series(
    reference: PlacedImage,
    before: Volume,
    after: Volume,
    seen: NDArray[np.bool_],
    transform: Affine,
    thresholds: QCThresholds,
    noise: PairNoise | None = None,
) -> AlignmentQC:
    """Measure how well a series was aligned, and say whether it may be used.

    Parameters
    ----------
    reference : PlacedImage
        Mean b0 of the first series, corrected.
    before, after : (X, Y, Z) arrays
        Mean b0 of the series on the grid of the reference, as the headers say and as aligned.
    seen : (X, Y, Z) bool array
        Where the reference grid lies in the field of view of the series.
    transform : Affine
        World of the reference to world of the series.
    thresholds : QCThresholds
        After alignment, b0s of two heads have a correlation of up to 0.75 and, with voxels of 3.5 mm, a
        structure correlation of up to 0.8; those of one head have 0.97 and more, or 0.85 where distortion
        remains.
    noise : PairNoise, optional
        Of the b0s as acquired: what it takes from their correlation is no misfit. None by default.

    Returns
    -------
    qc : AlignmentQC
    """
    voxel_mm = reference.mean_voxel_size_mm
    smoothing, fine = max(1.0, _SMOOTHING_MM / voxel_mm), max(1.0, _STRUCTURE_MM / voxel_mm)
    common = reference.mask & seen
    brain = common if common.any() else reference.mask
    image, centre = reference.image, reference.brain_points.mean(axis=0)
    band = (fine, _BAND_RATIO * fine)
    of_smooth, of_band = (noise.variances(*sds) if noise else NO_NOISE for sds in ((smoothing,), band))
    found = AlignmentQC(
        rotation_deg=transform.rotation_deg,
        translation_mm=float(transform.displacement_mm(centre)),
        correlation_before=smooth_correlation(image, before, reference.mask, smoothing),
        correlation_after=smooth_correlation(image, after, brain, smoothing, of_smooth),
        structure_correlation=structure_correlation(image, after, brain, band, of_band),
        overlap=float(np.count_nonzero(common) / np.count_nonzero(reference.mask)),
        reason="",
    )
    reasons = _reasons(found, thresholds)
    if found.correlation_after < _SURELY_ALIKE:
        reasons += _mirror_reasons(reference, after, found.correlation_after, smoothing, of_smooth)
    return replace(found, reason="; ".join(reasons))


def _mirror_reasons(
    reference: PlacedImage,
    image: Volume,
    correlation: float,
    smoothing: float,
    noise_variances: tuple[float, float],
) -> list[str]:
    """What to say where the mirror image of a head, registered anew, matches clearly better than the head.

    The thresholds do not see it: a head is much like its mirror image, more than like another head.
    """
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirror[0, 3] = 2 * reference.brain_points.mean(axis=0)[0]
    mirrored = PlacedImage(image, mirror @ reference.affine, reference.mask)
    shown, seen = show_on(mirrored, register_series(reference, mirrored).transform, reference)
    common = reference.mask & seen
    if not common.any():
        return []
    match = smooth_correlation(reference.image, shown, common, smoothing, noise_variances)
    if match < _LEAST_MATCH or 1 - match > _LARGEST_MISMATCH_KEPT * (1 - correlation):
        return []
    return [
        f"its mirror image matches better (correlation {match:.2f} instead of {correlation:.2f}): left and "
        "right were swapped in the data or in the header; convert it again"
    ]


def _reasons(found: AlignmentQC, thresholds: QCThresholds) -> list[str]:
    """Reasons against a series, one phrase for each QC threshold that it fails."""
    limits = (
        (
            found.overlap < thresholds.min_overlap,
            f"it shows {found.overlap:.0%} of the brain, at least {thresholds.min_overlap:.0%} is needed",
        ),
        (
            found.correlation_after < thresholds.min_correlation,
            f"its b0 does not match (correlation {found.correlation_after:.2f} after alignment, at least "
            f"{thresholds.min_correlation:.2f} is needed): another person or contrast, or alignment failed",
        ),
        (
            found.structure_correlation < thresholds.min_structure_correlation,
            f"the folds of the brain do not match (correlation {found.structure_correlation:.2f}, at least "
            f"{thresholds.min_structure_correlation:.2f} is needed)",
        ),
    )
    return [*(text for applies, text in limits if applies), *motion_reasons(found, thresholds)]


def show_on(
    moving: PlacedImage, transform: Affine, reference: PlacedImage
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """An image on the grid of another, trilinear, and where that grid lies in its field of view."""
    voxel_map = transform.between_voxels(reference.affine, moving.affine)
    shape = reference.image.shape
    shown = ndimage.affine_transform(
        moving.image.astype(np.float32), voxel_map[:3, :3], voxel_map[:3, 3], shape, order=1, mode="nearest"
    )
    return shown, field_of_view(moving.image.shape, voxel_map, shape)
