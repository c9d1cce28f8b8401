"""Refuse bad images, and copies, at the start of a unit, where only that unit fails."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits

from n2a_bids.algorithms.copies import find_copies
from n2a_bids.dataset.checks import check_image
from n2a_bids.errors import BIDSDataError
from n2a_bids.images import load


class _CheckImagesInputSpec(BaseInterfaceInputSpec):
    # Not File(exists=True): a missing file is explained when the node runs, not when the graph is built.
    in_files = traits.List(traits.Str(), mandatory=True, desc="images of one unit")
    skip = traits.Bool(False, usedefault=True, nohash=True, desc="pass them on unseen")
    most_missing = traits.Float(0.0, usedefault=True, desc="part of the voxels that may be NaN or infinite")


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
            check_image(Path(path), self.inputs.most_missing)
        self._results["out_files"] = list(self.inputs.in_files)
        return runtime


class _RefuseCopiesInputSpec(BaseInterfaceInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, desc="series of one unit")
    names = traits.List(traits.Str(), mandatory=True, desc="path of each in the dataset, for the message")


class _RefuseCopiesOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="the same series")


class RefuseCopies(SimpleInterface):
    """Pass series on, or raise BIDSDataError if one is a copy of another.

    All further steps count on every series of a unit, so that none can be left out here, as one of
    several T1w repetitions can.
    """

    input_spec = _RefuseCopiesInputSpec
    output_spec = _RefuseCopiesOutputSpec

    def _run_interface(self, runtime):
        names = self.inputs.names
        copies = find_copies(load(Path(path))[0] for path in self.inputs.in_files)
        for copy, first in copies.items():
            raise BIDSDataError(
                f"{names[copy]}: expected a measurement of its own, found a copy of "
                f"{Path(names[first]).name}; put the right file in its place, or exclude it with "
                "--bids-filter-file"
            )
        self._results["out_files"] = list(self.inputs.in_files)
        return runtime
