"""Judges aligned T1w repetitions by QC thresholds (motion, correlation), resamples them onto one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.normalization import Mask, Volume, match_scales
from n2a_bids.algorithms.registration.noise_attenuation import PairNoise
from n2a_bids.algorithms.registration.placed_images import SURELY_ALIKE, PlacedImage, mirror_reasons
from n2a_bids.algorithms.registration.resampling import field_of_view, move_measured, resample
from n2a_bids.algorithms.registration.similarity import smooth_correlation, structure_correlation
from n2a_bids.algorithms.registration.transforms import Affine, Matrix, spread_points

_SMOOTHING_MM = 2.0
_STRUCTURE_MM = 1.2
_COARSE_MM, _MORE_OF_COARSE = (1.2, 3.0), 0.3
"""Large voxels show the coarse shape of a brain alone, in which people are alike: the folds of two had
correlations of 0.39 to 0.50 at 2 mm and 0.62 to 0.71 at 3 mm (below 0.3 at 1 mm), those of one person 0.93
and more at 3 mm, with ghosts, motion or contrast agent."""
_SAME_FOLDS = 0.9
"""Structure correlation above which no more than shading may differ, as with and without normalisation."""
_BAND_RATIO = 2.5
"""Coarse over fine scale of the structure that is compared."""


@dataclass(frozen=True, slots=True)
class QCThresholds:
    """Limits that a repetition must keep to be used."""

    min_correlation: float
    """Of smoothed intensities inside the brain: another contrast falls below."""
    min_structure_correlation: float
    """Of gyral detail inside the brain: another head falls below."""
    max_rotation_deg: float
    max_translation_mm: float
    min_overlap: float
    """Fraction of the brain inside the field of view."""

    def for_voxels(self, voxel_mm: float) -> QCThresholds:
        """Limits for images of larger voxels, of which folds must agree more."""
        return replace(
            self, min_structure_correlation=least_structure(self.min_structure_correlation, voxel_mm)
        )


@dataclass(frozen=True, slots=True)
class AlignmentQC:
    """Metrics of one aligned repetition; distances in mm, angles in degrees."""

    rotation_deg: float
    translation_mm: float
    """Displacement of the centre of the brain."""
    correlation_before: float
    correlation_after: float
    structure_correlation: float
    overlap: float
    reason: str
    """Why it is refused; empty if it is accepted."""

    @classmethod
    def of_reference(cls) -> AlignmentQC:
        """What is true of the image that the others are compared with."""
        return cls(0.0, 0.0, 1.0, 1.0, 1.0, 1.0, reason="")


def _spread_points(grid: PlacedImage) -> NDArray[np.float64]:
    """(N, 3) world coordinates of about a thousand brain voxels."""
    return spread_points(grid.mask, grid.affine, 1000)


def is_negligible(transform: Matrix, grid: PlacedImage, limit_voxels: float) -> bool:
    """Whether a transform moves no point of the brain by more than a fraction of a voxel.

    An image that has the reference grid and moves less is better left as it is: no interpolation is
    as good as none.
    """
    moved_mm = Affine(transform).displacement_mm(_spread_points(grid))
    return bool(moved_mm.max() < limit_voxels * grid.mean_voxel_size_mm)


def bring_to_grid(
    image: Volume, affine: Matrix, transform: Matrix, grid: PlacedImage, measured: Mask | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A repetition on the reference grid, by one interpolation.

    Parameters
    ----------
    image : (X, Y, Z) float array
    affine : (4, 4) float array
        Voxel to world mm of the image.
    transform : (4, 4) float array
        Reference world to image world.
    measured : (X, Y, Z) bool array, optional
        Where the image holds a measurement; everywhere by default.

    Returns
    -------
    aligned : float32 array
        On the grid. Beyond the field of view of the image, and where it was not measured, stands the
        reference, in the intensity scale of the image: no edge, and the mean shows what is known.
    inside : bool array
        Where `aligned` is the image itself.
    """
    to_voxels = Affine(transform).between_voxels(grid.affine, affine)
    aligned, inside = resample(image, to_voxels, grid.image.shape, measured)
    common = grid.mask & inside if grid.measured is None else grid.mask & inside & grid.measured
    if not inside.all() and common.any():
        reference_scale, own_scale = match_scales(np.stack([grid.image, aligned]), common)
        filled = own_scale.invert(reference_scale.apply(grid.image))
        aligned = np.where(inside, aligned, filled)
    return aligned, inside


def judge(
    image: Volume,
    affine: Matrix,
    transform: Matrix,
    grid: PlacedImage,
    thresholds: QCThresholds,
    measured: Mask | None = None,
) -> AlignmentQC:
    """Measure how well a repetition was aligned, and say whether it may be used.

    Trilinear interpolation is enough here: all that is compared is smoother than its blur.

    Parameters
    ----------
    image, affine, transform, grid
        As in `bring_to_grid`.
    measured : (X, Y, Z) bool array, optional
        As in `bring_to_grid`. Images are compared where both were measured.
    """
    voxel = grid.mean_voxel_size_mm
    shape = grid.image.shape
    before = Affine().between_voxels(grid.affine, affine)
    after = Affine(transform).between_voxels(grid.affine, affine)
    unaligned, aligned = (
        ndimage.affine_transform(image, to_voxels[:3, :3], to_voxels[:3, 3], shape, order=1)
        for to_voxels in (before, after)
    )
    brain = grid.mask if grid.measured is None else grid.mask & grid.measured
    seen = held = brain & field_of_view(image.shape, after, shape)
    if measured is not None:
        held = seen & move_measured(measured, after, shape)
        # Trilinear interpolation takes in what stands beyond the border of the zone.
        seen = seen & move_measured(measured, after, shape, least=0.99)
    centre = _spread_points(grid).mean(axis=0)
    smoothing, fine = max(1.0, _SMOOTHING_MM / voxel), max(1.0, _STRUCTURE_MM / voxel)
    band = (fine, _BAND_RATIO * fine)
    seen = seen if seen.any() else grid.mask
    noise = PairNoise.measure(grid.image, brain if brain.any() else grid.mask, image, after)
    found = AlignmentQC(
        rotation_deg=Affine(transform).rotation_deg,
        translation_mm=float(Affine(transform).displacement_mm(centre)),
        correlation_before=smooth_correlation(grid.image, unaligned, grid.mask, smoothing),
        correlation_after=smooth_correlation(
            grid.image, aligned, seen, smoothing, noise.variances(smoothing)
        ),
        structure_correlation=structure_correlation(grid.image, aligned, seen, band, noise.variances(*band)),
        overlap=float(np.count_nonzero(held) / max(np.count_nonzero(brain), 1)),
        reason="",
    )
    head = replace(grid, mask=seen)
    return _unless_mirrored(_with_reason(found, thresholds.for_voxels(voxel)), head, aligned, noise)


def move_mask(mask: Mask, affine: Matrix, transform: Matrix) -> Mask:
    """A mask seen from another position on the same grid.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    affine : (4, 4) float array
        Voxel to world mm.
    transform : (4, 4) float array
        World of the result to world of the mask.

    Returns
    -------
    moved : (X, Y, Z) bool array
    """
    to_voxels = Affine(transform).between_voxels(affine, affine)
    weight = ndimage.affine_transform(mask.astype(np.float32), to_voxels[:3, :3], to_voxels[:3, 3], order=1)
    return weight > 0.5


def least_structure(at_1mm: float, voxel_mm: float) -> float:
    """Correlation of folds that images need, given that at 1 mm: larger voxels must agree more.

    A limit that somebody sets high stays one that images can reach, and -1 stays below all of them.

    Examples
    --------
    >>> [round(least_structure(0.5, size), 2) for size in (1.0, 2.1, 3.0)]
    [0.5, 0.65, 0.8]
    >>> [round(least_structure(limit, 3.0), 2) for limit in (-1.0, 0.9, 1.0)]
    [-0.7, 0.96, 1.0]
    """
    more = min(_MORE_OF_COARSE, 2 * _MORE_OF_COARSE * (1 - at_1mm))
    return at_1mm + more * float(np.interp(voxel_mm, _COARSE_MM, (0, 1)))


def _with_reason(found: AlignmentQC, thresholds: QCThresholds) -> AlignmentQC:
    reasons: Sequence[tuple[bool, str]] = (
        (
            found.overlap < thresholds.min_overlap,
            f"its field of view holds {found.overlap:.0%} of the brain, at least "
            f"{thresholds.min_overlap:.0%} is needed",
        ),
        (
            found.structure_correlation < thresholds.min_structure_correlation,
            f"the folds of the brain do not match (correlation {found.structure_correlation:.2f}, at least "
            f"{thresholds.min_structure_correlation:.2f} is needed): another person, or alignment failed",
        ),
        (
            found.correlation_after < thresholds.min_correlation,
            f"its contrast {'or shading ' if found.structure_correlation > _SAME_FOLDS else ''}differs "
            f"(correlation {found.correlation_after:.2f} after alignment, at least "
            f"{thresholds.min_correlation:.2f} is needed)",
        ),
    )
    failed = [text for applies, text in reasons if applies]
    return replace(found, reason="; ".join([*failed, *motion_reasons(found, thresholds)]))


def _unless_mirrored(found: AlignmentQC, head: PlacedImage, aligned: Volume, noise: PairNoise) -> AlignmentQC:
    """Metrics of a repetition, refused where it is rather a mirror image of the head."""
    if found.reason or found.correlation_after >= SURELY_ALIKE:
        return found
    smoothing = max(1.0, _SMOOTHING_MM / head.mean_voxel_size_mm)
    variances = noise.variances(smoothing)
    swapped = mirror_reasons(head, aligned, found.correlation_after, smoothing, variances)
    return replace(found, reason="; ".join(swapped))


def motion_reasons(found: AlignmentQC, thresholds: QCThresholds) -> list[str]:
    """Reasons against an image whose head lies too far away or is rotated too far.

    Parameters
    ----------
    found : AlignmentQC
        How the image lies.

    Returns
    -------
    reasons : list of str
        One phrase for each threshold that is exceeded.
    """
    reasons = (
        (
            found.rotation_deg > thresholds.max_rotation_deg,
            f"the head is rotated by {found.rotation_deg:.1f} degrees, at most "
            f"{thresholds.max_rotation_deg:g} are allowed",
        ),
        (
            found.translation_mm > thresholds.max_translation_mm,
            f"the head is {found.translation_mm:.1f} mm away, at most {thresholds.max_translation_mm:g} are "
            "allowed",
        ),
    )
    return [text for applies, text in reasons if applies]
