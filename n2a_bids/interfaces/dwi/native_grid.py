"""Node that puts the denoised series back into the native space and distortion of its sources."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, traits
from numpy.typing import NDArray

from n2a_bids.algorithms.distortion.field import AcquiredGrid, acquired_grid
from n2a_bids.algorithms.registration.dwi_resampling import resample_series
from n2a_bids.algorithms.registration.motion_measures import even_intensity, undo_rotations
from n2a_bids.interfaces.dwi.acquired_series import AcquiredSeries, AcquiredSeriesInputSpec, read_acquired
from n2a_bids.interfaces.resumable import ResumableInterface
from n2a_bids.io.gradients import write_gradients
from n2a_bids.io.images import load, save_like


class _OwnGridsInputSpec(AcquiredSeriesInputSpec):
    own_b0_files = traits.List(File(exists=True), mandatory=True, desc="mean b0 of each, as acquired")
    accepted = traits.List(traits.Int(), mandatory=True, desc="indices of the series that were denoised")
    b0_files = traits.List(File(exists=True), mandatory=True, desc="mean b0 of these, on the common grid")
    denoised_file = File(exists=True, mandatory=True, desc="denoised series on the common grid")


class _OwnGridsOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="denoised, once for each accepted source")
    mask_files = traits.List(File(exists=True), desc="brain mask on the grid of each")
    bval_files = traits.List(File(exists=True), desc="b-values of each")
    bvec_files = traits.List(File(exists=True), desc="directions of each, motion within the series undone")


class NativeGrids(ResumableInterface):
    """Move and distort the denoised series again, as each source was.

    The motion of volumes within a series stays corrected: all lie where its first b0 lies. Outside the
    brain, and where the image folds, a series keeps its own signal.
    """

    input_spec = _OwnGridsInputSpec
    output_spec = _OwnGridsOutputSpec

    def _run_interface(self, runtime):
        inputs, folder = self.inputs, Path(runtime.cwd)
        denoised, affine = load(Path(inputs.denoised_file))
        mask = load(Path(inputs.mask_file))[0] > 0.5
        outputs: dict[str, list[str]] = {name: [] for name in _OwnGridsOutputSpec().get()}
        for index, gain in zip(inputs.accepted, self._gains(mask), strict=True):
            series = read_acquired(inputs, index, mask.shape)
            grid = _grid_of(series, affine)
            own_mask = grid.show(mask, order=0) > 0.5
            own = _own_signal(series, own_mask)
            _fill(own, own_mask, grid, denoised, gain, signed=series.signed)
            table = undo_rotations(series.gradients, series.motion)
            bval, bvec = write_gradients(table, series.affine, folder / f"own_{index + 1}")
            model, target = Path(inputs.own_b0_files[index]), folder / f"mask_{index + 1}.nii.gz"
            files = {
                "out_files": save_like(own, series.path, folder / f"own_{index + 1}.nii.gz"),
                "mask_files": save_like(own_mask, model, target, np.uint8),
                "bval_files": bval,
                "bvec_files": bvec,
            }
            for name, file in files.items():
                outputs[name].append(os.fspath(file))
        self._results.update(outputs)
        return runtime

    def _gains(self, mask: NDArray[np.bool_]) -> list[float]:
        """Intensity of each accepted series over that of the first of them, whose unit the result has."""
        levels = [float(load(Path(path))[0][mask].mean()) for path in self.inputs.b0_files]
        return [level / levels[0] for level in levels]


def _grid_of(series: AcquiredSeries, affine: NDArray[np.float64]) -> AcquiredGrid:
    voxel_map = series.between.between_voxels(affine, series.affine)
    return acquired_grid(voxel_map, series.displacement, series.axis, series.data.shape[:3])


def _own_signal(series: AcquiredSeries, own_mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The series in its native space, without the motion between its volumes."""
    even_intensity(series.data, series.motion)
    maps = [motion.between_voxels(series.affine, series.affine) for motion in series.motion]
    still = np.zeros(own_mask.shape, np.float32)
    return resample_series(series.data, maps, still, series.axis, own_mask, signed=series.signed)


def _fill(
    own: NDArray[np.float32],
    mask: NDArray[np.bool_],
    grid: AcquiredGrid,
    denoised: NDArray[np.float32],
    gain: float,
    *,
    signed: bool,
) -> None:
    """Write the denoised signal into a series, inside its mask."""
    for volume in range(own.shape[-1]):
        own[mask, volume] = gain * grid.show(denoised[..., volume], signed=signed)[mask]
