"""`PlacedImage` (image, place, brain); registers series by their b0s and finds left-right mirrored ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.normalization import Mask, Volume
from n2a_bids.algorithms.quality.mask_checks import dice
from n2a_bids.algorithms.registration.noise_attenuation import filtered_noise_variance
from n2a_bids.algorithms.registration.resampling import field_of_view
from n2a_bids.algorithms.registration.rigid import first_guess, register_rigid
from n2a_bids.algorithms.registration.rigid_fit import BRAIN_MM3, size_factor
from n2a_bids.algorithms.registration.similarity import smooth_correlation
from n2a_bids.algorithms.transforms import (
    Affine,
    Matrix,
    inverse,
    spread_points,
    voxel_sizes_mm,
)

_CONVERGED_VOXELS = 0.05
"""A step that moves no brain voxel farther is the last one."""
_MOST_ROUNDS = 12
SURELY_ALIKE = 0.97
"""Correlation of one head, after alignment, that no mirror image reaches."""
_LEAST_MATCH, _LARGEST_MISMATCH_KEPT = 0.9, 0.5
"""Correlation that a mirror image must have, and the part of the mismatch that it may keep."""
_SMOOTHING_MM, _STRUCTURE_MM = 2.0, 1.2
_BAND_RATIO = 2.5
"""Coarse over fine scale of the structure that is compared."""
_COARSE_MM, _MARGIN_MM = 2.0, 10.0
"""Voxels, and rim of the brain, with which finer images are registered; smaller in those of animals."""


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image, where its voxels lie in the world, and the brain in it."""

    image: Volume
    """(X, Y, Z) intensities."""
    affine: Matrix
    """(4, 4) voxel to world mm."""
    mask: Mask
    """(X, Y, Z) brain."""
    measured: Mask | None = None
    """(X, Y, Z) where the image holds a measurement; None for everywhere."""

    @property
    def voxel_size_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel."""
        return voxel_sizes_mm(self.affine)

    @property
    def brain_size(self) -> float:
        """Edge length of the brain of an animal over that of one of 200 ml; 1 for larger ones."""
        return size_factor(self.mask, self.voxel_size_mm, BRAIN_MM3)

    @property
    def mean_voxel_size_mm(self) -> float:
        """Geometric mean of the edge lengths."""
        return float(np.prod(self.voxel_size_mm) ** (1 / 3))

    @property
    def brain_points(self) -> NDArray[np.float64]:
        """(N, 3) world coordinates of about two thousand brain voxels."""
        return spread_points(self.mask, self.affine, 2000)


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


def register_coarsely(reference: PlacedImage, moving: PlacedImage) -> Affine:
    """Rigid motion between two images of one contrast, as of `register_series`, by voxels of about 2 mm."""
    return register_series(_coarse(reference), _coarse(moving)).transform


def compared_scales(placed: PlacedImage) -> tuple[float, tuple[float, float]]:
    """SDs, in voxels, of the blurs with which heads are compared: smaller ones of the small heads of animals.

    Parameters
    ----------
    placed : PlacedImage
        On whose grid images are compared.

    Returns
    -------
    smoothing : float
        Of the images as a whole.
    band : (float, float)
        Between which the structure lies that is compared.
    """
    size = size_factor(placed.mask, placed.voxel_size_mm) / placed.mean_voxel_size_mm
    fine = max(1.0, size * _STRUCTURE_MM)
    return max(1.0, size * _SMOOTHING_MM), (fine, _BAND_RATIO * fine)


def find_start(reference: PlacedImage, moving: PlacedImage) -> Affine:
    """Where the registration of two heads starts: see `first_guess`."""
    brains = [np.where(placed.mask, placed.image, 0).astype(np.float32) for placed in (reference, moving)]
    return Affine(first_guess(brains[0], reference.affine, brains[1], moving.affine))


def brain_overlap(reference: PlacedImage, moving: PlacedImage) -> float:
    """Dice coefficient of two brains where the headers put them, on the grid of the first."""
    other = PlacedImage(moving.mask.astype(np.float32), moving.affine, moving.mask)
    shown, seen = show_on(other, Affine(), reference)
    return dice((shown > 0.5) & seen, reference.mask)


def part_in_view(brain: PlacedImage, transform: Affine, other: PlacedImage) -> float:
    """Part of a brain, 0 to 1, that lies in the field of view of another image.

    Parameters
    ----------
    transform : Affine
        World of the brain to that of the other image.
    """
    points = Affine(inverse(other.affine)).apply(transform.apply(brain.brain_points))
    inside = (points >= -0.5) & (points <= np.array(other.image.shape) - 0.5)
    return float(inside.all(axis=1).mean()) if len(points) else 0.0


def show_on(
    moving: PlacedImage, transform: Affine, reference: PlacedImage
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """An image on the grid of another, trilinear, and where that grid lies in its field of view.

    Parameters
    ----------
    transform : Affine
        World of the reference to world of the moving image.

    Returns
    -------
    shown : (X, Y, Z) float32 array
        On the grid of the reference; edge values repeat outside of the field of view.
    seen : (X, Y, Z) bool array
        Voxels of that grid inside the field of view.
    """
    voxel_map = transform.between_voxels(reference.affine, moving.affine)
    shape = reference.image.shape
    shown = ndimage.affine_transform(
        moving.image.astype(np.float32), voxel_map[:3, :3], voxel_map[:3, 3], shape, order=1, mode="nearest"
    )
    return shown, field_of_view(moving.image.shape, voxel_map, shape)


def mirror_reasons(
    reference: PlacedImage,
    image: Volume,
    correlation: float,
    smoothing: float,
    noise_variances: tuple[float, float],
) -> list[str]:
    """What to say where the mirror image of a head, registered anew, matches clearly better than the head.

    The thresholds do not see it: a head is much like its mirror image, more than like another head.

    Parameters
    ----------
    image : (X, Y, Z) array
        A repetition, aligned, on the grid of the reference.
    correlation : float
        Of the two.
    smoothing, noise_variances
        With which `smooth_correlation` found it.

    Returns
    -------
    reasons : list of str
        One against the repetition, or none.
    """
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirror[0, 3] = 2 * reference.brain_points.mean(axis=0)[0]
    mirrored = PlacedImage(image, mirror @ reference.affine, reference.mask)
    transform = register_coarsely(reference, mirrored)
    shown, seen = show_on(mirrored, transform, reference)
    common = reference.mask & seen
    if not common.any():
        return []
    # Interpolated once more, it has less noise: as if it had not, that would speak for the mirror image.
    to_mirrored = transform.between_voxels(reference.affine, mirrored.affine)
    centre = np.array(ndimage.center_of_mass(reference.mask))
    left = filtered_noise_variance(to_mirrored, centre, smoothing)
    left /= filtered_noise_variance(np.eye(4), np.round(centre), smoothing)
    variances = (noise_variances[0], left * noise_variances[1])
    match = smooth_correlation(reference.image, shown, common, smoothing, variances)
    if match < _LEAST_MATCH or 1 - match > _LARGEST_MISMATCH_KEPT * (1 - correlation):
        return []
    return [
        f"its mirror image matches better (correlation {match:.2f} instead of {correlation:.2f}): left and "
        "right were swapped in the data or in the header; convert it again"
    ]


def _coarse(placed: PlacedImage) -> PlacedImage:
    """The part around the brain in voxels of about 2 mm, less of small brains; larger voxels as they are."""
    size = placed.brain_size
    step = int(size * _COARSE_MM / placed.mean_voxel_size_mm)
    if step < 2:
        return placed
    pad = np.ceil(size * _MARGIN_MM / np.array(placed.voxel_size_mm)).astype(int)
    box = tuple(slice(part.start, part.stop, step) for part in bounding_box(placed.mask, pad))
    affine = placed.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    affine[:3, :3] *= step
    smooth = ndimage.gaussian_filter(placed.image.astype(np.float32), step / 2)
    return PlacedImage(smooth[box], affine, placed.mask[box])
