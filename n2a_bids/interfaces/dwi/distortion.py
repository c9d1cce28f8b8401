"""Node that estimates susceptibility distortion from a pair of b0s of opposite phase encoding."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, traits
from numpy.typing import NDArray

from n2a_bids.algorithms.distortion.blip_pair import BlipPair
from n2a_bids.algorithms.distortion.pepolar import PairCorrection, correct_pair, doubt_of_pair
from n2a_bids.algorithms.distortion.quality import DistortionQuality, judge_distortion
from n2a_bids.algorithms.registration.placed_images import PlacedImage, brain_overlap, find_start, show_on
from n2a_bids.algorithms.shading import ANY, DISTORTED, relative_shading, shaded_alike
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.errors import BIDSDataError
from n2a_bids.interfaces.resumable import ResumableInterface, StepInputSpec
from n2a_bids.io.gradients import phase_encoding_of
from n2a_bids.io.images import load, save_like
from n2a_bids.io.json import write_record
from n2a_bids.io.transforms import write_transforms
from n2a_bids.record.alignment import DistortionRecord, FieldDisplacement, MotionBetweenSeries

_SHOWN = 0.95
"""Part of the brain below which a b0 is named that is no series itself, and has no other limit to keep."""
_LIES_THERE = 0.6
"""Dice coefficient of the two brains, distorted as they are."""


def phase_encoding_axis(direction: Sequence[float], affine: NDArray[np.float64]) -> int:
    """Array axis of an image along which phase was encoded, from the direction in the world (RAS+).

    Examples
    --------
    >>> phase_encoding_axis([0.0, -1.0, 0.0], np.diag([-2.0, 2.0, 2.0, 1.0]))
    1
    """
    return "ijk".index(phase_encoding_of(direction, affine)[0])


def without_field(
    correction: PairCorrection, acquired: tuple[NDArray[np.float32], NDArray[np.float32]], problem: str
) -> PairCorrection:
    """A correction that moves nothing, with a warning that says why; `acquired` are the b0s as they lie."""
    nothing = np.zeros_like(correction.displacement)
    warnings = (*correction.warnings, f"the distortion is left as it is: {problem}")
    return replace(
        correction,
        displacement=nothing,
        second_displacement=nothing,
        corrected=acquired,
        warnings=warnings,
    )


def still_pair(first: NDArray[np.float32], second: NDArray[np.float32]) -> PairCorrection:
    """Two b0s on one grid as they lie: no displacement, no motion."""
    nothing = np.zeros_like(first)
    return PairCorrection(nothing, nothing, np.eye(4), (first, second), 0, 0.0, True)


class _EstimateDistortionInputSpec(StepInputSpec):
    b0_files = traits.List(
        File(exists=True), minlen=2, maxlen=2, mandatory=True, desc="mean b0 of each series, as acquired"
    )
    mask_files = traits.List(File(exists=True), minlen=2, maxlen=2, mandatory=True, desc="brain mask of each")
    names = traits.List(traits.Str(), mandatory=True, desc="path of each series in the dataset, for messages")
    phase_encoding = traits.List(
        traits.List(traits.Float()), mandatory=True, desc="direction of each series in the world (RAS+)"
    )
    opposite_is_known = traits.Bool(
        True, usedefault=True, desc="the polarities are opposite; False: found from the images"
    )
    is_optional = traits.Bool(
        False, usedefault=True, desc="where no plausible field is found, leave the distortion and say so"
    )
    readout_ratio = traits.Float(
        1.0, usedefault=True, desc="TotalReadoutTime of the second series over that of the first"
    )


class _EstimateDistortionOutputSpec(TraitedSpec):
    displacement_files = traits.List(
        File(exists=True),
        desc="of each series, on the grid of the first: its own voxels along its own phase-encoding axis",
    )
    b0_files = traits.List(File(exists=True), desc="the two b0s, corrected, on the grid of the first")
    placed_files = traits.List(
        File(exists=True), desc="the two b0s on the grid of the first, as the headers say"
    )
    between_file = File(exists=True, desc="JSON: world of the first series to world of each")
    corrected = traits.Bool(desc="whether a plausible field was found")
    record_file = File(exists=True, desc="JSON of what was moved and how well the b0s agree")


def _load_placed(image: str, mask: str) -> PlacedImage:
    return PlacedImage(*load(Path(image)), load(Path(mask))[0] > 0.5)


class EstimateDistortion(ResumableInterface):
    """Displacement field and head motion between two series of opposite phase encoding."""

    input_spec = _EstimateDistortionInputSpec
    output_spec = _EstimateDistortionOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        first, second = map(_load_placed, inputs.b0_files, inputs.mask_files)
        axes = list(map(phase_encoding_axis, inputs.phase_encoding, (first.affine, second.affine)))
        correction, failure, second = self._correct(first, second, (axes[0], axes[1]))
        placed, _ = show_on(second, Affine(), first)
        if failure:
            correction = still_pair(first.image, placed)
        quality = judge_distortion(
            first.image,
            (placed, second.image),
            correction,
            first.mask,
            axes[0],
            first.voxel_size_mm[axes[0]],
            axes[1],
            first.brain_size,
        )
        problem = self._problem(correction, replace(quality, reason=failure or quality.reason))
        correction = self._believed(correction, problem, (first.image, placed), quality.shown)
        between = Affine.from_voxels(correction.voxel_map, first.affine, second.affine)
        self._write(Path(runtime.cwd), correction, quality, between, placed)
        return runtime

    def _correct(
        self, first: PlacedImage, second: PlacedImage, axes: tuple[int, int]
    ) -> tuple[PairCorrection | None, str, PlacedImage]:
        """The correction, or None and why there can be none; and the second b0, shaded as the first.

        A field would bend images until their shading agreed, as of one with and one without prescan
        normalisation. What distortion cannot explain is taken out before, the rest from corrected images.
        """
        if not second.mask.any():
            return None, "no brain was found in the second b0", second
        # A field takes the place of motion: only a head that lies elsewhere needs another start.
        lies_there = brain_overlap(first, second) > _LIES_THERE
        start = Affine() if lies_there else find_start(first, second)
        shaded = shaded_alike(first, second, start, DISTORTED)
        correction, failure = self._correct_from(start, first, shaded, axes)
        if shaded is second or correction is None:
            return correction, failure, shaded
        rest = relative_shading(*correction.corrected, first.mask, first.voxel_size_mm, ANY)
        if rest is None:
            return correction, failure, shaded
        between = Affine.from_voxels(correction.voxel_map, first.affine, second.affine)
        factor, _ = show_on(replace(first, image=rest.factor), ~between, shaded)
        shaded = replace(shaded, image=shaded.image * factor)
        return *self._correct_from(start, first, shaded, axes), shaded

    def _correct_from(
        self, start: Affine, first: PlacedImage, second: PlacedImage, axes: tuple[int, int]
    ) -> tuple[PairCorrection | None, str]:
        """The correction that begins where the second b0 is shown by `start`."""
        try:
            pair = BlipPair(
                *(first.image, second.image, first.mask, first.voxel_size_mm, axes),
                start=start.between_voxels(first.affine, second.affine),
                readout_ratio=self.inputs.readout_ratio,
            )
            if not self.inputs.opposite_is_known:
                return correct_pair(pair, opposite=None), ""
            correction = correct_pair(pair)
            doubt = doubt_of_pair(pair, correction)
        except ValueError as error:
            return None, str(error)
        warnings = (*correction.warnings, *([doubt] if doubt else []))
        return replace(correction, warnings=warnings), ""

    def _believed(
        self,
        correction: PairCorrection,
        problem: str,
        acquired: tuple[NDArray[np.float32], NDArray[np.float32]],
        shown: float,
    ) -> PairCorrection:
        """The correction, or one that moves nothing; BIDSDataError where it must be one and is none."""
        if problem and not self.inputs.is_optional:
            raise BIDSDataError(problem)
        self._results["corrected"] = not problem
        if problem:
            return without_field(correction, acquired, problem)
        if self.inputs.is_optional and shown < _SHOWN:
            name = Path(self.inputs.names[1]).name
            told = f"{name} shows only {shown:.0%} of the brain: elsewhere the distortion is hardly corrected"
            return replace(correction, warnings=(*correction.warnings, told))
        return correction

    def _problem(self, correction: PairCorrection, quality: DistortionQuality) -> str:
        """Why this is no pair, with the remedy; empty where it is one."""
        first, second = (Path(name).name for name in self.inputs.names)
        remedy = (
            "look at both b0s; exclude a wrong series with --bids-filter-file, or denoise each alone with "
            "--dwi-pairing single"
        )
        if not correction.opposite:
            return (
                f"{self.inputs.names[1]}: expected phase encoding opposite to that of {first}, found the "
                "same in the images; correct the sidecars, or use --dwi-pairing repeat"
            )
        if quality.reason:
            return (
                f"{self.inputs.names[0]}: expected a distortion field that explains how {second} differs, "
                f"found one that cannot be true: {quality.reason}; {remedy}"
            )
        return ""

    def _write(
        self,
        folder: Path,
        correction: PairCorrection,
        quality: DistortionQuality,
        between: Affine,
        placed: NDArray[np.float32],
    ) -> None:
        model = Path(self.inputs.b0_files[0])
        images = {
            "displacement_files": (correction.displacement, correction.second_displacement),
            "b0_files": correction.corrected,
            "placed_files": (load(model)[0], placed),
        }
        for name, pair in images.items():
            stem = name.removesuffix("_files")
            self._results[name] = [
                os.fspath(save_like(image, model, folder / f"{stem}_{number}.nii.gz"))
                for number, image in enumerate(pair, start=1)
            ]
        between_file = write_transforms([Affine(), between], folder / "between.json")
        record = DistortionRecord(
            correlation_before=quality.correlation_before,
            correlation_aligned=quality.correlation_aligned,
            correlation_after=quality.correlation_after,
            displacement_mm=FieldDisplacement(**quality.displacement_mm),
            folded_fraction=quality.folded_fraction,
            motion_between_series=MotionBetweenSeries(
                rounds=(0, correction.n_rounds),
                last_step_voxels=(0.0, correction.last_step_voxels),
                converged=(True, correction.converged),
            ),
            polarity_margin=correction.polarity_margin,
            warnings=tuple(correction.warnings),
        )
        record_file = write_record(record, folder / "record.json")
        self._results.update(between_file=os.fspath(between_file), record_file=record_file)
