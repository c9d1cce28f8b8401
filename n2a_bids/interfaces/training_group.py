"""Node that lists which files are the aligned repetitions or exposures of a group, to train on."""

from __future__ import annotations

import os
from pathlib import Path

from nipype.interfaces.base import (
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.training.groups import AlignedGroup, write_groups

GROUP_FILE = "group.json"


class _ListTrainingGroupInputSpec(StepInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, desc="aligned repetitions, or one image")
    mask_file = File(exists=True, mandatory=True, desc="brain mask, or pixels that count, on their grid")
    measured_file = File(exists=True, desc="runs measured at each voxel, where some have gaps")
    subject = traits.Str(mandatory=True, desc="participant, without sub-")
    label = traits.Str(mandatory=True, desc="name of the group")
    real_valued = traits.Bool(False, usedefault=True, desc="real parts of complex images")
    field_of_view = traits.Str("", usedefault=True, desc="what exposures of a microscope show")


class _ListTrainingGroupOutputSpec(TraitedSpec):
    group_file = File(exists=True, desc="JSON list with this group")


class ListTrainingGroup(ResumableInterface):
    """Write the group as `read_groups` takes it."""

    input_spec = _ListTrainingGroupInputSpec
    output_spec = _ListTrainingGroupOutputSpec
    # The list of an earlier run is deleted, lest it stand for an alignment that fails now.
    _always_run = True

    def _run_interface(self, runtime):
        measured = self.inputs.measured_file
        group = AlignedGroup(
            subject=self.inputs.subject,
            name=self.inputs.label,
            runs=tuple(map(Path, self.inputs.in_files)),
            mask=Path(self.inputs.mask_file),
            measured=Path(measured) if isdefined(measured) else None,
            real_valued=self.inputs.real_valued,
            micrograph=bool(self.inputs.field_of_view),
            field_of_view=self.inputs.field_of_view,
        )
        self._results["group_file"] = os.fspath(write_groups([group], Path(runtime.cwd) / GROUP_FILE))
        return runtime
