"""Node for a single diffusion series that is not resampled: its motion is measured only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, traits

from n2a_bids.algorithms.quality.alignment_checks import AlignmentQC
from n2a_bids.algorithms.registration.motion_measures import eddy_displacement_mm, measure_motion
from n2a_bids.algorithms.registration.rigid_fit import BRAIN_MM3, size_factor
from n2a_bids.algorithms.transforms import voxel_sizes_mm, world_points
from n2a_bids.interfaces.dwi.alignment_record import SeriesRow, series_record, volume_motion
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.images import load
from n2a_bids.io.json import write_record
from n2a_bids.io.transforms import read_transforms
from n2a_bids.record.alignment import RegistrationRecord


class _KeepInPlaceInputSpec(StepInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, desc="the series, as a list of one")
    b0_files = traits.List(File(exists=True), mandatory=True, desc="its mean b0")
    motion_files = traits.List(File(exists=True), mandatory=True, desc="JSON: its world to each volume's")
    mask_file = File(exists=True, mandatory=True, desc="brain mask on the series")
    bval_file = File(exists=True, mandatory=True, desc="b-values, as they lie in the dataset")
    bvec_file = File(exists=True, mandatory=True, desc="directions, as they lie in the dataset")
    name = traits.Str(mandatory=True, desc="file name of the series, for the record")


class _KeepInPlaceOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="the same series")
    accepted = traits.List(traits.Int(), desc="[0]")
    bval_file = File(exists=True, desc="the same b-values")
    bvec_file = File(exists=True, desc="the same directions")
    b0_files = traits.List(File(exists=True), desc="the same mean b0")
    mask_file = File(exists=True, desc="the same mask")
    record_file = File(exists=True, desc="JSON of the motion that was left")
    noise_kept = traits.Float(desc="1: nothing is interpolated")


class KeepInPlace(ResumableInterface):
    """What `AlignSeries` gives, without any interpolation: motion is only written down."""

    input_spec = _KeepInPlaceInputSpec
    output_spec = _KeepInPlaceOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        mask, affine = load(Path(inputs.mask_file))
        centre = world_points(np.argwhere(mask > 0.5).mean(axis=0), affine)
        volumes = list(range(len(transforms := read_transforms(inputs.motion_files[0]))))
        size = size_factor(mask > 0.5, voxel_sizes_mm(affine), BRAIN_MM3)
        motion = measure_motion(transforms, centre, volumes, size)
        qc = AlignmentQC.of_reference()
        columns = volume_motion(motion, volumes, [1.0] * len(volumes))
        moved_mm = eddy_displacement_mm(transforms, world_points(np.argwhere(mask > 0.5), affine))
        row = SeriesRow(inputs.name, qc, "", motion, columns, moved_mm, size=size)
        reason = "it is the only series of its group"
        record = series_record([row], reason, RegistrationRecord(), in_place=True)
        self._results.update(
            out_files=inputs.in_files,
            accepted=[0],
            bval_file=inputs.bval_file,
            bvec_file=inputs.bvec_file,
            b0_files=inputs.b0_files,
            mask_file=inputs.mask_file,
            record_file=write_record(record, Path(runtime.cwd) / "alignment.json"),
            noise_kept=1.0,
        )
        return runtime
