"""Nodes for a reversed b0 as partner: its mean, and the distortion it gives other series."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    File,
    TraitedSpec,
    isdefined,
    traits,
)
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.preparation.gap_filling import mend_series
from n2a_bids.algorithms.registration.dwi_motion import estimate_motion
from n2a_bids.algorithms.registration.dwi_resampling import resample_series
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.errors import BIDSDataError
from n2a_bids.external.b0_brain import find_b0_brain, find_brain
from n2a_bids.interfaces.dwi.series import B0BrainInputSpec, b0_threshold_trait, first_volume, read_table
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.gaps import stored_limits
from n2a_bids.io.gradients import phase_encoding_in_world, phase_encoding_of, superior_axis
from n2a_bids.io.images import load, load_along, save_like


class _MeanReversedB0InputSpec(B0BrainInputSpec):
    in_file = File(exists=True, mandatory=True, desc="b0 image of opposite phase encoding, or a few")
    imaginary_file = File(exists=True, desc="imaginary part, where that is the real part and no magnitude")
    bval_file = File(exists=True, desc="b-values; without a table, all volumes are b0")
    bvec_file = File(exists=True, desc="directions")
    b0_threshold = b0_threshold_trait()


class _MeanReversedB0OutputSpec(TraitedSpec):
    b0_file = File(exists=True, desc="mean of the b0s where the first of them lies")
    mask_file = File(exists=True, desc="brain in it")


class MeanReversedB0(ResumableInterface):
    """Mean of the b0s of an image that is not denoised, without the motion between them, and its brain."""

    input_spec = _MeanReversedB0InputSpec
    output_spec = _MeanReversedB0OutputSpec

    def _run_interface(self, runtime):
        path, folder = Path(self.inputs.in_file), Path(runtime.cwd)
        data, affine = load(path)
        limits = stored_limits(path)
        if isdefined(self.inputs.imaginary_file):
            data, limits = np.hypot(data, load_along(Path(self.inputs.imaginary_file), path)), None
        data = data[..., None] if data.ndim == 3 else data
        volumes = self._b0_volumes(affine, data.shape[-1])
        data = data[..., volumes]
        mend_series(data, voxel_sizes_mm(affine), limits)
        if not data.any():
            raise BIDSDataError(
                f"{path}: expected a b0 image, found nothing but zeros or NaN; leave it out with "
                "--bids-filter-file"
            )
        b0 = mean_without_motion(data, affine, volumes)
        model = path if len(nb.load(path).shape) == 3 else first_volume(path, folder)
        b0_file = save_like(b0, model, folder / "b0.nii.gz")
        method, seed = self.inputs.b0_mask_method, self.inputs.b0_mask_seed
        mask = find_b0_brain(b0_file, method, folder, random_seed=seed).mask
        self._results["b0_file"] = os.fspath(b0_file)
        self._results["mask_file"] = os.fspath(save_like(mask, model, folder / "mask.nii.gz", np.uint8))
        return runtime

    def _b0_volumes(self, affine: NDArray[np.float64], n_volumes: int) -> NDArray[np.intp]:
        inputs = self.inputs
        if not (isdefined(inputs.bval_file) and isdefined(inputs.bvec_file)):
            return np.arange(n_volumes)
        table = read_table(inputs, affine)
        # A table of other series, by inheritance.
        return np.flatnonzero(table.is_b0) if table.bvals.size == n_volumes else np.arange(n_volumes)


def mean_without_motion(
    b0s: NDArray[np.float32], affine: NDArray[np.float64], times: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Mean of b0 images where the first of them lies.

    Parameters
    ----------
    b0s : (X, Y, Z, C) array
    affine : (4, 4) array
        Voxel to world mm.
    times : sequence of C ints, optional
        When they were acquired, in volumes: those of a series lie far apart. In their order by default.
    """
    count = b0s.shape[-1]
    if count == 1:
        return b0s[..., 0]
    mask = find_brain(b0s.mean(axis=-1), superior_axis(affine))
    if not mask.any():
        return b0s.mean(axis=-1)
    table = Gradients(np.zeros(count), np.zeros((count, 3)))
    sizes_mm = voxel_sizes_mm(affine)
    maps = estimate_motion(b0s, table, mask, sizes_mm, _no_other_shell, times=times).voxel_maps
    still = np.zeros(mask.shape, np.float32)
    return resample_series(b0s, maps, still, 1, mask, signed=bool(b0s.min() < 0)).mean(axis=-1)


def _no_other_shell(lowest: NDArray, other: NDArray) -> NDArray[np.float64]:
    raise AssertionError("b0s are one shell")


class _ShareDisplacementInputSpec(StepInputSpec):
    displacement_files = traits.List(
        File(exists=True), mandatory=True, desc="of the first series, and of one of opposite phase encoding"
    )
    leaders = traits.List(
        traits.Int(), mandatory=True, desc="for each series, the first that shares its phase encoding"
    )
    images = traits.List(File(exists=True), mandatory=True, desc="every series as acquired")
    phase_encoding = traits.List(traits.List(traits.Float()), mandatory=True, desc="of each, in the world")
    readout_ratios = traits.List(traits.Float(), mandatory=True, desc="of each over that of its leader")


class _ShareDisplacementOutputSpec(TraitedSpec):
    displacement_files = traits.List(File(exists=True), desc="of every series, in its own voxels")


class ShareDisplacement(ResumableInterface):
    """The distortion of a series as that of all that share its phase encoding."""

    input_spec = _ShareDisplacementInputSpec
    output_spec = _ShareDisplacementOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        edges_mm = [
            voxel_along(direction, load_affine(path))
            for direction, path in zip(inputs.phase_encoding, inputs.images, strict=True)
        ]
        files = []
        for index, leader in enumerate(inputs.leaders):
            model = Path(inputs.displacement_files[0 if leader == 0 else 1])
            factor = inputs.readout_ratios[index] * edges_mm[leader] / edges_mm[index]
            target = Path(runtime.cwd) / f"displacement_{index + 1}.nii.gz"
            files.append(os.fspath(save_like(np.float32(factor) * load(model)[0], model, target)))
        self._results["displacement_files"] = files
        return runtime


def load_affine(path: str) -> NDArray[np.float64]:
    """Voxel to world mm, from the header alone."""
    return nb.load(path).affine


def voxel_along(direction: Sequence[float], affine: NDArray[np.float64]) -> float:
    """Edge length (mm) of a voxel along a direction of the world; negative where indices run against it.

    Examples
    --------
    >>> voxel_along([0.0, -1.0, 0.0], np.diag([2.0, 2.5, 2.0, 1.0]))
    -2.5
    """
    axis = "ijk".index(phase_encoding_of(direction, affine)[0])
    runs = float(phase_encoding_in_world("ijk"[axis], affine) @ np.asarray(direction))
    return float(np.copysign(voxel_sizes_mm(affine)[axis], runs))
