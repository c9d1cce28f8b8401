"""Node that passes a single T1w image on as if it were aligned repetitions."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    File,
    isdefined,
    traits,
)
from numpy.typing import NDArray

from n2a_bids.algorithms.registration.similarity import contrast_to_noise
from n2a_bids.interfaces.anat.align import AlignedOutputSpec
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.gaps import load_zone
from n2a_bids.io.images import load, load_mask, save_like
from n2a_bids.io.json import write_record
from n2a_bids.record.alignment import AlignedRepetition, AlignmentRecord


class _KeepSingleInputSpec(StepInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, minlen=1, maxlen=1, desc="the image")
    mask_files = traits.List(File(exists=True), mandatory=True, minlen=1, maxlen=1, desc="its brain mask")
    gap_files = traits.List(traits.Str(), mandatory=True, desc="map of what was not measured, or empty")
    values_files = traits.List(traits.Str(), desc="the real-valued image that is denoised in its place")
    phase_files = traits.List(traits.Str(), desc="smooth phase of the image, radians")


class _KeepSingleOutputSpec(AlignedOutputSpec):
    index = traits.Int(desc="its index, 0")


class KeepSingle(ResumableInterface):
    """Pass one image on as `AlignRepetitions` passes many: nothing is registered, nothing interpolated.

    Lists of what was moved are empty, and no map of what was measured is written.
    """

    input_spec = _KeepSingleInputSpec
    output_spec = _KeepSingleOutputSpec

    def _run_interface(self, runtime):
        folder = Path(runtime.cwd)
        image, mask = Path(self.inputs.in_files[0]), Path(self.inputs.mask_files[0])
        inside, measured = load_mask(mask, image), load_zone(self.inputs.gap_files[0])
        common = inside if measured is None or not (inside & measured).any() else inside & measured
        record_file = write_record(_record(image, common), folder / "alignment.json")
        common_file = save_like(common, image, folder / "common_mask.nii.gz", np.uint8)
        values = self.inputs.values_files if isdefined(self.inputs.values_files) else [os.fspath(image)]
        if isdefined(self.inputs.phase_files):
            self._results["phase_file"] = self.inputs.phase_files[0]
        empty = ("out_transforms", "moved", "before_files", "after_files", "warnings")
        self._results.update({name: [] for name in empty})
        self._results.update(
            index=0,
            out_files=list(values),
            reference_file=values[0],
            accepted=[0],
            reference=[0],
            brain_mask=os.fspath(mask),
            common_mask=os.fspath(common_file),
            record_file=record_file,
        )
        return runtime


def _record(image: Path, brain: NDArray[np.bool_]) -> AlignmentRecord:
    ratio = float(contrast_to_noise(load(image)[0], brain))
    alone = AlignedRepetition(file=image.name, interpolated=False, contrast_to_noise=ratio)
    return AlignmentRecord(reference=image.name, space="reference", repetitions=(alone,))
