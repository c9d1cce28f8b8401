"""Judges aligned T1w repetitions by QC thresholds (motion, correlation), resamples them onto one grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.normalization import Mask, Volume, match_scales
from n2a_bids.algorithms.quality.alignment_checks import AlignmentQC, QCThresholds, with_reason
from n2a_bids.algorithms.registration.noise_attenuation import PairNoise
from n2a_bids.algorithms.registration.placed_images import (
    SURELY_ALIKE,
    PlacedImage,
    compared_scales,
    mirror_reasons,
)
from n2a_bids.algorithms.registration.resampling import field_of_view, move_measured, resample
from n2a_bids.algorithms.registration.similarity import smooth_correlation, structure_correlation
from n2a_bids.algorithms.shading import FINE, relative_shading
from n2a_bids.algorithms.transforms import Affine, Matrix, inverse, spread_points


def _spread_points(grid: PlacedImage) -> NDArray[np.float64]:
    """(N, 3) world coordinates of about a thousand brain voxels."""
    return spread_points(grid.mask, grid.affine, 1000)


def is_negligible(transform: Matrix, grid: PlacedImage, limit_voxels: float) -> bool:
    """Whether a transform moves no point of the brain by more than a fraction of a voxel.

    An image that has the reference grid and moves less is better left as it is: no interpolation is
    as good as none.

    Parameters
    ----------
    transform : (4, 4) float array
        World of the grid to world of the image, mm.
    limit_voxels : float
        Part of the mean voxel size.
    """
    moved_mm = Affine(transform).displacement_mm(_spread_points(grid))
    return bool(moved_mm.max() < limit_voxels * grid.mean_voxel_size_mm)


def bring_to_grid(
    image: Volume,
    affine: Matrix,
    transform: Matrix,
    grid: PlacedImage,
    measured: Mask | None = None,
    *,
    match_shading: bool = False,
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
    match_shading : bool
        Whether it gets the shading of the reference.

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
    both = inside if grid.measured is None else inside & grid.measured
    common = grid.mask & both
    if match_shading:
        # What resampling continues beyond the view is no measurement, and tells no shading.
        shading = relative_shading(grid.image, aligned * both, common, grid.voxel_size_mm, FINE)
        aligned = aligned if shading is None else aligned * shading.factor
    if not inside.all() and common.any():
        reference_scale, own_scale = match_scales(np.stack([grid.image, aligned]), common)
        filled = own_scale.invert(reference_scale.apply(grid.image))
        aligned = np.where(inside, aligned, filled)
    return aligned, inside


def judge_alignment(
    image: Volume,
    affine: Matrix,
    transform: Matrix,
    grid: PlacedImage,
    thresholds: QCThresholds,
    measured: Mask | None = None,
    *,
    match_shading: bool = False,
) -> AlignmentQC:
    """Measure how well a repetition was aligned, and say whether it may be used.

    Trilinear interpolation is enough here: all that is compared is smoother than its blur.

    Parameters
    ----------
    image, affine, transform, grid
        As in `bring_to_grid`.
    measured : (X, Y, Z) bool array, optional
        As in `bring_to_grid`. Images are compared where both were measured.
    match_shading : bool
        Whether images whose shading differs notably may agree without it.
    """
    voxel = grid.mean_voxel_size_mm
    shape = grid.image.shape
    before = Affine().between_voxels(grid.affine, affine)
    after = Affine(transform).between_voxels(grid.affine, affine)
    brain = grid.mask if grid.measured is None else grid.mask & grid.measured
    held, seen = _parts_in_view(brain, image.shape, after, measured)
    seen = seen if seen.any() else grid.mask
    aligned = _shown(image, after, shape)
    flat = _without_shading(image, after, grid, aligned, seen) if match_shading else None
    if flat is not None:
        found = judge_alignment(flat.image, affine, transform, flat.grid, thresholds, measured)
        if not found.reason:
            return replace(found, shading=flat.limits)
    centre = _spread_points(grid).mean(axis=0)
    smoothing, band = compared_scales(grid)
    noise = PairNoise.measure(grid.image, brain if brain.any() else grid.mask, image, after)
    found = AlignmentQC(
        rotation_deg=Affine(transform).rotation_deg,
        translation_mm=float(Affine(transform).displacement_mm(centre)),
        correlation_before=smooth_correlation(grid.image, _shown(image, before, shape), grid.mask, smoothing),
        correlation_after=smooth_correlation(
            grid.image, aligned, seen, smoothing, noise.variances(smoothing)
        ),
        structure_correlation=structure_correlation(grid.image, aligned, seen, band, noise.variances(*band)),
        overlap=float(np.count_nonzero(held) / max(np.count_nonzero(brain), 1)),
        reason="",
    )
    judged = with_reason(found, thresholds.for_voxels(voxel))
    return _unless_mirrored(judged, replace(grid, mask=seen), aligned, noise)


@dataclass(frozen=True, slots=True)
class _FlatPair:
    """An image on its own grid, and the reference, both over the brightness of the latter.

    Shading that both have is no likeness.
    """

    image: Volume
    grid: PlacedImage
    limits: tuple[float, float]
    """Of the shading that was between them."""


def _without_shading(
    image: Volume, to_image: Matrix, grid: PlacedImage, aligned: Volume, seen: Mask
) -> _FlatPair | None:
    """The two without shading; None where they are shaded alike."""
    shading = relative_shading(grid.image, aligned, seen, grid.voxel_size_mm)
    if shading is None:
        return None
    back = inverse(to_image)
    factor = ndimage.affine_transform(
        shading.factor / shading.brightness, back[:3, :3], back[:3, 3], image.shape, order=1, mode="nearest"
    )
    flat = replace(grid, image=grid.image / shading.brightness)
    return _FlatPair(image * factor, flat, shading.limits)


def _shown(image: Volume, to_image: Matrix, shape: tuple[int, ...]) -> Volume:
    """An image on another grid, trilinear; zero half a voxel beyond its outermost centres."""
    shown = ndimage.affine_transform(image, to_image[:3, :3], to_image[:3, 3], shape, order=1, mode="nearest")
    return np.where(field_of_view(image.shape, to_image, shape), shown, 0)


def _parts_in_view(
    brain: Mask, shape: tuple[int, ...], to_image: Matrix, measured: Mask | None
) -> tuple[Mask, Mask]:
    """Parts of the brain that an image holds, and that show it alone when it was interpolated."""
    seen = brain & field_of_view(shape, to_image, brain.shape)
    if measured is None:
        return seen, seen
    held = seen & move_measured(measured, to_image, brain.shape)
    # Trilinear interpolation takes in what stands beyond the border of the zone.
    return held, seen & move_measured(measured, to_image, brain.shape, least=0.99)


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


def _unless_mirrored(found: AlignmentQC, head: PlacedImage, aligned: Volume, noise: PairNoise) -> AlignmentQC:
    """Metrics of a repetition, refused where it is rather a mirror image of the head."""
    if found.reason or found.correlation_after >= SURELY_ALIKE:
        return found
    smoothing, _ = compared_scales(head)
    variances = noise.variances(smoothing)
    swapped = mirror_reasons(head, aligned, found.correlation_after, smoothing, variances)
    return replace(found, reason="; ".join(swapped))
