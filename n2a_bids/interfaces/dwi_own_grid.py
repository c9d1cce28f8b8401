"""The denoised series as each of its sources lay: on its own grid, with its own distortion."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from nipype.interfaces.base import File, SimpleInterface, TraitedSpec, traits
from numpy.typing import NDArray

from n2a_bids.algorithms.distortion import AcquiredGrid, acquired_grid
from n2a_bids.gradient_files import write_gradients
from n2a_bids.images import load, save_like
from n2a_bids.interfaces.distortion import phase_encoding_axis
from n2a_bids.interfaces.dwi_align import (
    AcquiredSeriesInputSpec,
    series_displacements,
    turned,
)
from n2a_bids.interfaces.dwi_mask import read_series_table
from n2a_bids.interfaces.dwi_motion import resample_series


class _OwnGridsInputSpec(AcquiredSeriesInputSpec):
    own_b0_files = traits.List(File(exists=True), mandatory=True, desc="mean b0 of each, as acquired")
    b0_files = traits.List(File(exists=True), mandatory=True, desc="mean b0 of each, on the common grid")
    between_file = File(exists=True, mandatory=True, desc="JSON: voxel map from the first series to each")
    denoised_file = File(exists=True, mandatory=True, desc="denoised series on the common grid")


class _OwnGridsOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="denoised, once for each source")
    mask_files = traits.List(File(exists=True), desc="brain mask on the grid of each")
    bval_files = traits.List(File(exists=True), desc="b-values of each")
    bvec_files = traits.List(File(exists=True), desc="directions of each, motion within the series undone")


class OwnGrids(SimpleInterface):
    """Move and distort the denoised series again, as each source was.

    The motion of volumes within a series stays corrected: all lie where its first b0 lies. Outside the
    brain, and where the image folds, a series keeps its own signal.
    """

    input_spec = _OwnGridsInputSpec
    output_spec = _OwnGridsOutputSpec

    def _run_interface(self, runtime):
        inputs, folder = self.inputs, Path(runtime.cwd)
        denoised, _ = load(Path(inputs.denoised_file))
        mask = load(Path(inputs.mask_file))[0] > 0.5
        displacements = series_displacements(inputs, mask.shape)
        gains = self._gains(mask)
        betweens = json.loads(Path(inputs.between_file).read_text())
        outputs: dict[str, list[str]] = {name: [] for name in _OwnGridsOutputSpec().get()}
        for number, between in enumerate(betweens):
            path = Path(inputs.in_files[number])
            data, affine = load(path)
            displacement = displacements[number]
            axis = phase_encoding_axis(inputs.phase_encoding)[0] if displacement.any() else 1
            grid = acquired_grid(np.array(between), displacement, axis, data.shape[:3])
            own_mask = grid.show(mask, order=0) > 0.5
            maps = [np.array(m) for m in json.loads(Path(inputs.motion_files[number]).read_text())]
            still = np.zeros(data.shape[:3], np.float32)
            own = resample_series(data, maps, still, axis, own_mask)
            _fill(own, own_mask, grid, denoised, gains[number])
            table = read_series_table(inputs, number, affine)
            bval, bvec = write_gradients(turned(table, maps, affine), affine, folder / f"own_{number + 1}")
            model, target = Path(inputs.own_b0_files[number]), folder / f"mask_{number + 1}.nii.gz"
            files = {
                "out_files": save_like(own, path, folder / f"own_{number + 1}.nii.gz"),
                "mask_files": save_like(own_mask, model, target, np.uint8),
                "bval_files": bval,
                "bvec_files": bvec,
            }
            for name, file in files.items():
                outputs[name].append(os.fspath(file))
        self._results.update(outputs)
        return runtime

    def _gains(self, mask: NDArray[np.bool_]) -> list[float]:
        """Intensity of each series over that of the first, whose unit the denoised series has."""
        levels = [float(load(Path(path))[0][mask].mean()) for path in self.inputs.b0_files]
        return [level / levels[0] for level in levels]


def _fill(
    own: NDArray[np.float32],
    mask: NDArray[np.bool_],
    grid: AcquiredGrid,
    denoised: NDArray[np.float32],
    gain: float,
) -> None:
    """Write the denoised signal into a series, inside its mask."""
    for volume in range(own.shape[-1]):
        own[mask, volume] = gain * grid.show(denoised[..., volume])[mask]
