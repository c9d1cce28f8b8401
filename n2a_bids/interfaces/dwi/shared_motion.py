"""Joins the eddy currents of series of one protocol, and estimates the motion of each anew by them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import File, traits
from numpy.typing import NDArray

from n2a_bids.algorithms.distortion.eddy_currents import EddyCurrents, shared_currents
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.interfaces.dwi.motion import (
    EstimateMotionInputSpec,
    MotionOutputSpec,
    estimate_series_motion,
    to_currents,
)
from n2a_bids.interfaces.resumable import ResumableInterface
from n2a_bids.io.json import read_typed
from n2a_bids.record.alignment import EddyCurrentsRecord


class _ShareCurrentsInputSpec(EstimateMotionInputSpec):
    index = traits.Int(mandatory=True, desc="of the series among all")
    motion_file = File(exists=True, mandatory=True, desc="its motion, estimated by itself")
    b0_file = File(exists=True, mandatory=True, desc="its b0, likewise")
    currents_files = traits.List(traits.Str(), mandatory=True, desc="eddy currents of all; empty: none found")
    in_files = traits.List(File(exists=True), mandatory=True, desc="all series")


class ShareEddyCurrents(ResumableInterface):
    """Motion of a series by the eddy currents that it shares with others of its protocol.

    Where it has none, or no other tells the same, its motion stays as it was estimated.
    """

    input_spec = _ShareCurrentsInputSpec
    output_spec = MotionOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        currents = self._shared()
        if currents is None:
            self._results = {"motion_file": inputs.motion_file, "b0_file": inputs.b0_file}
            return runtime
        _, self._results = estimate_series_motion(inputs, Path(runtime.cwd), currents)
        return runtime

    def _shared(self) -> EddyCurrents | None:
        """Of the series, from all that tell the same; None where it is alone."""
        files, index = self.inputs.currents_files, self.inputs.index
        having = [place for place, path in enumerate(files) if path]
        if index not in having or len(having) < 2:
            return None
        found = [to_currents(read_typed(EddyCurrentsRecord, Path(files[place]))) for place in having]
        shared = shared_currents(found, [self._directions(place) for place in having])
        return shared[having.index(index)]

    def _directions(self, place: int) -> NDArray[np.float64]:
        """(3, 3) axes of the array in the world, as columns."""
        affine = nb.load(self.inputs.in_files[place]).affine
        return affine[:3, :3] / voxel_sizes_mm(affine)
