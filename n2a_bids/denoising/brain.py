"""Finds a brain mask for a diffusion series that ``n2a-tools denoise`` was given without one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np

from n2a_bids.algorithms.preparation.gap_filling import mend_series
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.dataset.read.files import open_nifti
from n2a_bids.denoising.inputs import DenoiseJob
from n2a_bids.errors import BIDSDataError
from n2a_bids.external.b0_brain import find_b0_brain, volume_problem
from n2a_bids.io.gradients import read_gradients
from n2a_bids.io.images import load, save_like


@dataclass(frozen=True, slots=True)
class SeriesBrain:
    """Brain mask of a diffusion series, and what is to be said of how it came about."""

    mask_file: Path
    """On the grid of the first series."""
    warnings: tuple[str, ...] = ()


def find_series_brain(job: DenoiseJob, folder: Path) -> SeriesBrain:
    """Find the brain in the mean b0 of the first series, as ``n2a`` does.

    Parameters
    ----------
    job : DenoiseJob
        With a gradient table.
    folder : Path
        For the mask.

    Raises
    ------
    BIDSDataError
        If there is no b0, or what is found in it is too small or too large for a brain.
    """
    path = job.runs[0]
    open_nifti(path)
    data, affine = load(path)
    table = read_gradients(job.bvals, job.bvecs, affine, b0_threshold=job.b0_threshold)
    n_volumes = data.shape[3] if data.ndim == 4 else 1
    if table.bvals.size != n_volumes or not table.is_b0.any():
        raise BIDSDataError(
            f"{path}: expected {n_volumes} rows in {job.bvals}, and a b0 to find the brain in; "
            f"found {table.bvals.size} with {int(table.is_b0.sum())} b0s; correct the table, or give --mask"
        )
    if not np.isfinite(data).all():
        mend_series(data, voxel_sizes_mm(affine))
    model = nb.Nifti1Image(np.zeros(data.shape[:3], np.float32), affine)
    nb.save(model, folder / "grid.nii.gz")
    b0 = save_like(data[..., table.is_b0].mean(axis=-1), folder / "grid.nii.gz", folder / "b0.nii.gz")
    brain = find_b0_brain(b0, "auto", folder, random_seed=job.denoise.random_seed)
    problem = volume_problem(brain.mask, affine, path, remedy="give --mask")
    if problem:
        raise BIDSDataError(problem)
    mask_file = save_like(brain.mask, b0, folder / "brain.nii.gz", np.uint8)
    return SeriesBrain(mask_file, (f"{path.name}: {brain.warning}",) if brain.warning else ())
