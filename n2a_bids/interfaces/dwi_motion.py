"""Motion between the volumes of a series, and the interpolation that undoes it."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import File, SimpleInterface, TraitedSpec, traits
from numpy.typing import NDArray

from n2a_bids.algorithms.distortion import resample
from n2a_bids.algorithms.dwi_motion import estimate_motion
from n2a_bids.images import load, read_itk_transform, save_like, voxel_sizes_mm, write_itk_transform
from n2a_bids.interfaces.child import run_ants
from n2a_bids.interfaces.dwi_mask import MaskedSeriesInputSpec, mean_b0, read_table

_STILL_VOXELS = 0.1
"""A motion that moves no brain voxel farther is not worth an interpolation."""


class _EstimateMotionInputSpec(MaskedSeriesInputSpec):
    seed = traits.Int(1, usedefault=True, desc="seed of ANTs")


class _EstimateMotionOutputSpec(TraitedSpec):
    motion_file = File(exists=True, desc="JSON: one voxel map for each volume")
    b0_file = File(exists=True, desc="mean of the b0s where the first of them lies")


class EstimateMotion(SimpleInterface):
    """Motion of every volume relative to the first b0, and the mean of the b0s without it."""

    input_spec = _EstimateMotionInputSpec
    output_spec = _EstimateMotionOutputSpec

    def _run_interface(self, runtime):
        data, affine = load(Path(self.inputs.in_file))
        mask = load(Path(self.inputs.mask_file))[0] > 0.5
        table = read_table(self.inputs, affine)
        align_shell = partial(_align_shell, mask, affine, Path(runtime.cwd), self.inputs.seed)
        maps = estimate_motion(data, table, mask, voxel_sizes_mm(affine), align_shell)
        motion_file = Path(runtime.cwd) / "motion.json"
        motion_file.write_text(json.dumps(maps.tolist()))
        self._results["motion_file"] = os.fspath(motion_file)
        unweighted = np.flatnonzero(table.is_b0)
        b0_file = Path(runtime.cwd) / "b0.nii.gz"
        if unweighted.size:
            still = np.zeros(mask.shape, np.float32)
            b0s = resample_series(data[..., unweighted], [maps[i] for i in unweighted], still, 1, mask)
            b0 = b0s.mean(axis=-1)
        else:
            b0 = mean_b0(data, table)
        self._results["b0_file"] = os.fspath(save_like(b0, Path(self.inputs.mask_file), b0_file))
        return runtime


def _align_shell(
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    folder: Path,
    seed: int,
    fixed: NDArray[np.float32],
    moving: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Voxel map between the means of two shells: rigid, by mutual information in and around the brain."""
    images = {"fixed": fixed, "moving": moving, "fixed_mask": mask.astype(np.uint8)}
    files = {name: os.fspath(folder / f"shell_{name}.nii.gz") for name in images}
    for name, image in images.items():
        nb.save(nb.Nifti1Image(image, affine), files[name])
    files |= {name: os.fspath(folder / f"shell_{name}.txt") for name in ("initial", "out_file")}
    write_itk_transform(np.eye(4), Path(files["initial"]))
    run_ants("rigid", files, folder, seed=seed)
    return np.linalg.inv(affine) @ read_itk_transform(Path(files["out_file"])) @ affine


def resample_series(
    data: NDArray[np.float32],
    maps: list[NDArray[np.float64]],
    displacement: NDArray[np.float32],
    axis: int,
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Undo motion and distortion of every volume; one that kept still, undistorted, stays as it is.

    Parameters
    ----------
    data : (X, Y, Z, C) array
    maps : list of (4, 4) arrays
        Corrected voxel to voxel of each volume.
    displacement : (X', Y', Z') array
        On the corrected grid.
    axis : int
        Phase-encoding axis.
    mask : (X', Y', Z') bool array
        Brain, where motion counts.
    """
    aligned = np.empty((*displacement.shape, data.shape[-1]), np.float32)
    for volume, voxel_map in enumerate(maps):
        if stays(data.shape[:3], voxel_map, displacement, mask):
            aligned[..., volume] = data[..., volume]
        else:
            aligned[..., volume] = resample(data[..., volume], voxel_map, displacement, axis, 1)
    return aligned


def stays(shape: tuple[int, ...], voxel_map: NDArray, displacement: NDArray, mask: NDArray[np.bool_]) -> bool:
    """Whether a volume is taken as it is, without any interpolation; arguments as in `resample_series`."""
    return displacement.shape == shape and not displacement.any() and _is_still(voxel_map, mask)


def _is_still(voxel_map: NDArray[np.float64], mask: NDArray[np.bool_]) -> bool:
    points = np.argwhere(mask)[:: max(1, int(mask.sum()) // 2000)]
    moved = points @ voxel_map[:3, :3].T + voxel_map[:3, 3]
    return bool(np.linalg.norm(moved - points, axis=1).max() < _STILL_VOXELS)
