"""Simulated motion undone by the app's rigid alignment, or by one refined against a denoised image.

Once a network has made a clean estimate of the reference, the moving image is that estimate, moved, plus
its own noise. The motion of least squared difference is then the one of maximal likelihood, and one
linear fit of eight numbers (rotation, translation, gain, offset) over the brain takes a step towards it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.normalization import Mask
from n2a_bids.algorithms.registration.alignment import bring_to_grid
from n2a_bids.algorithms.registration.placed_images import PlacedImage
from n2a_bids.algorithms.transforms import Affine, Matrix, voxel_sizes_mm
from n2a_bids.external.brain_registration import BrainFiles, register_brains
from n2a_bids.io.transforms import read_itk_transform
from n2a_bids.lab.simulation.runs import SimulatedRuns, resample

_FEWEST_STEPS, _MOST_STEPS = 4, 12
_LARGEST_STEP_VOXELS = 0.005
"""The transform is at rest where a step moves no voxel of the brain farther."""


def align_runs(runs: SimulatedRuns, affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Register every run to the first and bring it there by the app's one interpolation.

    The brain masks of moved runs are the true one, moved: the app makes a mask of every run by
    its own brain extraction. The transforms themselves are not given away.

    Parameters
    ----------
    runs : SimulatedRuns
        First run unmoved.
    affine : (4, 4) float array
        Voxel to world mm of every run.

    Returns
    -------
    aligned : (R, X, Y, Z) float32 array
        On the grid of the first run, which is returned as it is.
    """
    grid = PlacedImage(runs.repetitions[0], affine, runs.mask)
    aligned = [runs.repetitions[0]]
    for index, data in enumerate(runs.repetitions[1:], start=1):
        found = register_run(grid, runs, index)
        aligned.append(bring_to_grid(data, affine, found, grid)[0])
    return np.stack(aligned)


def register_run(grid: PlacedImage, runs: SimulatedRuns, index: int) -> NDArray[np.float64]:
    """Register one run to the first.

    Parameters
    ----------
    grid : PlacedImage
        The first run.
    index : int
        Of the run.

    Returns
    -------
    transform : (4, 4) float array
        World of the first run to world of the run.
    """
    mask = runs.mask.astype(np.float32)
    moved = resample(mask, runs.transforms[index], voxel_sizes_mm(grid.affine)) > 0.5
    return _register(grid, runs.repetitions[index], moved)


def _register(
    grid: PlacedImage, moving: NDArray[np.float32], moving_mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Transform from the world of the grid to that of `moving`."""
    with tempfile.TemporaryDirectory(prefix="n2a_benchmark_") as name:
        folder = Path(name)
        images = {
            "reference": grid.image,
            "reference_mask": grid.mask.astype(np.uint8),
            "moving": moving,
            "moving_mask": moving_mask.astype(np.uint8),
        }
        for stem, data in images.items():
            nib.Nifti1Image(data, grid.affine).to_filename(folder / f"{stem}.nii.gz")
        still, moved = (
            BrainFiles(folder / f"{stem}.nii.gz", folder / f"{stem}_mask.nii.gz")
            for stem in ("reference", "moving")
        )
        return read_itk_transform(register_brains(still, moved, folder))


def refine_rigid(
    clean: NDArray[np.float32],
    moving: NDArray[np.float32],
    voxel_to_voxel: Matrix,
    mask: Mask,
    voxel_size_mm: NDArray[np.float64],
) -> Matrix:
    """Move a rigid transform to the least squared difference from a clean image.

    Parameters
    ----------
    clean : (X, Y, Z) float32 array
        Denoised reference.
    moving : (X', Y', Z') float32 array
        Noisy image; its intensities may differ by gain and offset.
    voxel_to_voxel : (4, 4) float array
        First guess, right to about a voxel: indices of `clean` to indices of `moving`.
    mask : (X, Y, Z) bool array
        Brain on the grid of `clean`: the voxels that are fitted.
    voxel_size_mm : (3,) float array
        Of `clean`.

    Returns
    -------
    refined : (4, 4) float array
        Indices of `clean` to indices of `moving`.
    """
    coefficients = ndimage.spline_filter(moving, order=3, output=np.float32, mode="mirror")
    index = np.argwhere(mask).astype(np.float64)
    points_mm = index * voxel_size_mm
    centre_mm = points_mm.mean(axis=0)
    design = _design(clean, mask, points_mm - centre_mm, voxel_size_mm)
    # Eight columns over a million rows: the normal equations are far cheaper than an SVD, and centred
    # columns keep them well conditioned.
    normal = design.T @ design
    to_mm = np.diag([*voxel_size_mm, 1.0])
    refined = np.array(voxel_to_voxel, dtype=np.float64)
    corners = _box_corners(index)
    for step_number in range(1, _MOST_STEPS + 1):
        positions = Affine(refined).apply(index)
        seen = ndimage.map_coordinates(coefficients, positions.T, order=3, mode="mirror", prefilter=False)
        fitted = np.linalg.solve(normal, design.T @ seen)
        turn, shift_mm = np.split(fitted[2:] / fitted[0], 2)
        moved = Affine.about(Rotation.from_rotvec(turn).as_matrix(), centre_mm, centre_mm + shift_mm)
        # The moving image shows the clean one too far along: take the same motion back.
        step = (~moved).between_voxels(to_mm, to_mm)
        refined = refined @ step
        moved_voxels = np.linalg.norm(Affine(step).apply(corners) - corners, axis=1).max()
        if step_number >= _FEWEST_STEPS and moved_voxels < _LARGEST_STEP_VOXELS:
            break
    return refined


def _box_corners(index: NDArray[np.float64]) -> NDArray[np.float64]:
    """(8, 3) corners of the box around these voxels."""
    sides = np.stack((index.min(axis=0), index.max(axis=0)))
    return np.array([[sides[i, 0], sides[j, 1], sides[k, 2]] for i, j, k in np.ndindex(2, 2, 2)])


def _design(
    clean: NDArray[np.float32],
    mask: Mask,
    arms_mm: NDArray[np.float64],
    voxel_size_mm: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Columns: the image, one, its change with rotation (rad) and with translation (mm)."""
    slopes = np.stack(
        [np.gradient(clean, size, axis=axis)[mask] for axis, size in enumerate(voxel_size_mm)], axis=1
    )
    rotated = np.cross(arms_mm, slopes)
    return np.column_stack([clean[mask], np.ones(len(slopes)), rotated, slopes]).astype(np.float64)
