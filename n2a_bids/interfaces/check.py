"""Refuse bad images at the start of a unit, where only that unit fails."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits

from n2a_bids.dataset.checks import check_image


class _CheckImagesInputSpec(BaseInterfaceInputSpec):
    # Not File(exists=True): a missing file is explained when the node runs, not when the graph is built.
    in_files = traits.List(traits.Str(), mandatory=True, desc="images of one unit")
    skip = traits.Bool(False, usedefault=True, nohash=True, desc="pass them on unseen")


class _CheckImagesOutputSpec(TraitedSpec):
    out_files = traits.List(traits.Str(), desc="the same images")


class CheckImages(SimpleInterface):
    """Pass images on, or raise BIDSDataError that says what is wrong with the first bad one."""

    input_spec = _CheckImagesInputSpec
    output_spec = _CheckImagesOutputSpec
    # A file may be repaired or damaged under its name: looked at anew in every run, it takes seconds.
    always_run = True

    def _run_interface(self, runtime):
        for path in () if self.inputs.skip else self.inputs.in_files:
            check_image(Path(path))
        self._results["out_files"] = list(self.inputs.in_files)
        return runtime
