"""Rigid motion between diffusion series of one phase encoding."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits

from n2a_bids.algorithms.registration.placed_images import PlacedImage, SeriesRegistration, register_series
from n2a_bids.algorithms.registration.transforms import Affine
from n2a_bids.io.images import load
from n2a_bids.io.json import write_record
from n2a_bids.io.transforms import write_transforms
from n2a_bids.record.alignment import MotionBetweenSeries, RegistrationRecord


class _RegisterSeriesInputSpec(BaseInterfaceInputSpec):
    b0_files = traits.List(File(exists=True), mandatory=True, desc="mean b0 of each series, as acquired")
    mask_files = traits.List(File(exists=True), mandatory=True, desc="brain mask of each")
    names = traits.List(traits.Str(), mandatory=True, desc="file name of each series, for the record")


class _RegisterSeriesOutputSpec(TraitedSpec):
    between_file = File(exists=True, desc="JSON: world of the first series to world of each")
    record_file = File(exists=True, desc="JSON: how each motion was found")


class RegisterSeries(SimpleInterface):
    """Motion of every series relative to the first."""

    input_spec = _RegisterSeriesInputSpec
    output_spec = _RegisterSeriesOutputSpec

    def _run_interface(self, runtime):
        inputs, folder = self.inputs, Path(runtime.cwd)
        placed = [
            PlacedImage(*load(Path(image)), load(Path(mask))[0] > 0.5)
            for image, mask in zip(inputs.b0_files, inputs.mask_files, strict=True)
        ]
        found = [SeriesRegistration(Affine(), 0, 0.0)]
        found += [register_series(placed[0], other) for other in placed[1:]]
        between_file = write_transforms([one.transform for one in found], folder / "between.json")
        record_file = write_record(_record(found, inputs.names), folder / "registration.json")
        self._results.update(between_file=os.fspath(between_file), record_file=record_file)
        return runtime


def _record(found: Sequence[SeriesRegistration], names: Sequence[str]) -> RegistrationRecord:
    return RegistrationRecord(
        motion_between_series=MotionBetweenSeries(
            rounds=tuple(one.n_rounds for one in found),
            last_step_voxels=tuple(round(one.last_step_voxels, 4) for one in found),
            converged=tuple(one.converged for one in found),
        ),
        warnings=tuple(
            f"{name}: its motion relative to the first series did not come to rest (after "
            f"{one.n_rounds} rounds, the last moved the brain by up to {one.last_step_voxels:.2f} voxels)"
            for name, one in zip(names, found, strict=True)
            if not one.converged
        ),
    )
