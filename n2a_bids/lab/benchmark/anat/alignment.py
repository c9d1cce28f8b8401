"""Simulated movement undone by the app's own alignment."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.registration.alignment import Grid, bring_to_grid
from n2a_bids.external.brain_registration import BrainFiles, register_brains
from n2a_bids.io.images import voxel_sizes_mm
from n2a_bids.io.transforms import read_itk_transform
from n2a_bids.lab.simulation.runs import SimulatedRuns, resample


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
    grid = Grid(runs.repetitions[0], affine, runs.mask)
    aligned = [runs.repetitions[0]]
    for index, data in enumerate(runs.repetitions[1:], start=1):
        found = register_run(grid, runs, index)
        aligned.append(bring_to_grid(data, affine, found, grid)[0])
    return np.stack(aligned)


def register_run(grid: Grid, runs: SimulatedRuns, index: int) -> NDArray[np.float64]:
    """Register one run to the first.

    Parameters
    ----------
    grid : Grid
        The first run.
    runs : SimulatedRuns
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


def _register(grid: Grid, moving: NDArray[np.float32], moving_mask: NDArray[np.bool_]) -> NDArray[np.float64]:
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
