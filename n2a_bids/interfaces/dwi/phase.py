"""The smooth phase of a diffusion series on the grid of the result."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from nipype.interfaces.base import SimpleInterface, TraitedSpec, traits

from n2a_bids.algorithms.registration.dwi_resampling import resample_series
from n2a_bids.interfaces.dwi.align import AcquiredSeriesInputSpec, read_acquired
from n2a_bids.io.images import load, save_like


class _PlacePhaseOutputSpec(TraitedSpec):
    phase_file = traits.Str(desc="phase of the first series, radians, with the motion and distortion undone")


class PlacePhase(SimpleInterface):
    """Bring the phase of the first series to the common grid as the series itself was brought there.

    ``in_files`` are the phases, in radians. Cosine and sine are interpolated, which do not wrap.
    """

    input_spec = AcquiredSeriesInputSpec
    output_spec = _PlacePhaseOutputSpec

    def _run_interface(self, runtime):
        mask_file = Path(self.inputs.mask_file)
        mask, affine = load(mask_file)
        series = read_acquired(self.inputs, 0, mask.shape)
        maps = [(motion @ series.between).between_voxels(affine, series.affine) for motion in series.motion]
        pull = (maps, series.displacement, series.axis, mask > 0.5)
        cosine, sine = (resample_series(part(series.data), *pull, signed=True) for part in (np.cos, np.sin))
        phase = np.arctan2(sine, cosine)
        target = Path(runtime.cwd) / "phase.nii.gz"
        self._results["phase_file"] = os.fspath(save_like(phase, series.path, target))
        return runtime
