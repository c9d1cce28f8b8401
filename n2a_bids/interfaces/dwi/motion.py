"""Motion between the volumes of a diffusion series, and the warning where it did not converge."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import File, SimpleInterface, TraitedSpec, traits
from numpy.typing import NDArray

from n2a_bids.algorithms.registration.dwi_motion import EstimatedMotion, estimate_motion
from n2a_bids.algorithms.registration.dwi_resampling import still_b0
from n2a_bids.algorithms.registration.transforms import Affine
from n2a_bids.interfaces.dwi.series import MaskedSeriesInputSpec, read_table
from n2a_bids.io.images import load, save_like, voxel_sizes_mm
from n2a_bids.io.transforms import read_itk_transform, write_itk_transform, write_transforms
from n2a_bids.system.child import run_ants

_LOGGER = logging.getLogger("nipype.interface")


class _EstimateMotionInputSpec(MaskedSeriesInputSpec):
    random_seed = traits.Int(1, usedefault=True, desc="seed of ANTs")


class _EstimateMotionOutputSpec(TraitedSpec):
    motion_file = File(
        exists=True, desc="JSON: for each volume, world where the first b0 lies to world of the volume"
    )
    b0_file = File(exists=True, desc="mean of the b0s where the first of them lies")


class EstimateMotion(SimpleInterface):
    """Motion of every volume relative to the first b0, and the mean of the b0s without it."""

    input_spec = _EstimateMotionInputSpec
    output_spec = _EstimateMotionOutputSpec

    def _run_interface(self, runtime):
        data, affine = load(Path(self.inputs.in_file))
        mask = load(Path(self.inputs.mask_file))[0] > 0.5
        table = read_table(self.inputs, affine)
        align_shell = partial(_align_shell, mask, affine, Path(runtime.cwd), self.inputs.random_seed)
        motion = estimate_motion(data, table, mask, voxel_sizes_mm(affine), align_shell)
        _tell_convergence(Path(self.inputs.in_file).name, motion)
        transforms = [Affine.from_voxels(voxel_map, affine, affine) for voxel_map in motion.voxel_maps]
        motion_file = write_transforms(transforms, Path(runtime.cwd) / "motion.json")
        self._results["motion_file"] = os.fspath(motion_file)
        b0_file = Path(runtime.cwd) / "b0.nii.gz"
        b0 = still_b0(data, table, motion.voxel_maps, mask)
        self._results["b0_file"] = os.fspath(save_like(b0, Path(self.inputs.mask_file), b0_file))
        return runtime


def _tell_convergence(name: str, motion: EstimatedMotion) -> None:
    if not motion.converged:
        _LOGGER.warning(
            "%s: motion within the series did not come to rest after %d rounds; the last moved a volume "
            "by up to %.2f voxels",
            name,
            motion.n_rounds,
            motion.last_step_voxels,
        )


def _align_shell(
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    folder: Path,
    random_seed: int,
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
    run_ants("rigid", files, folder, random_seed=random_seed)
    return Affine(read_itk_transform(Path(files["out_file"]))).between_voxels(affine, affine)
