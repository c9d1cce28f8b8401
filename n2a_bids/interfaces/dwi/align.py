"""Node that resamples diffusion series onto one grid, motion and distortion undone, misfits excluded."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, isdefined, traits
from numpy.typing import NDArray

from n2a_bids.algorithms.distortion.polarity import find_opposite_distortion
from n2a_bids.algorithms.normalization import Mask
from n2a_bids.algorithms.quality.alignment_checks import AlignmentQC
from n2a_bids.algorithms.registration.dwi_alignment import judge_series, judge_shaded_series
from n2a_bids.algorithms.registration.dwi_resampling import (
    mean_b0,
    resample_series,
    series_noise_kept,
    series_view,
)
from n2a_bids.algorithms.registration.motion_measures import (
    eddy_displacement_mm,
    even_intensity,
    mean_gradients,
    measure_motion,
    undo_rotations,
)
from n2a_bids.algorithms.registration.noise_attenuation import PairNoise
from n2a_bids.algorithms.registration.placed_images import PlacedImage, part_in_view, show_on
from n2a_bids.algorithms.shading import FINE, relative_shading
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.external.b0_brain import find_b0_brain
from n2a_bids.interfaces.alignment_limits import AlignmentLimitsInputSpec
from n2a_bids.interfaces.dwi.acquired_series import AcquiredSeries, AcquiredSeriesInputSpec, read_acquired
from n2a_bids.interfaces.dwi.aligned_series import (
    AlignedSeries,
    LossesInputSpec,
    ResampledSeries,
    fill_unseen,
    let_others_stand_in,
    place_losses,
    without_spoiled,
)
from n2a_bids.interfaces.dwi.alignment_record import (
    SeriesRow,
    refuse_misfits,
    series_record,
    volume_motion,
)
from n2a_bids.interfaces.dwi.distortion import phase_encoding_axis
from n2a_bids.interfaces.dwi.series import B0BrainInputSpec
from n2a_bids.interfaces.odd_repetitions import refuse_spoiled_reference
from n2a_bids.interfaces.resumable import ResumableInterface
from n2a_bids.io.gradients import write_gradients
from n2a_bids.io.images import load, save_like
from n2a_bids.io.json import read_typed, write_record
from n2a_bids.record.alignment import DistortionRecord, RegistrationRecord


class _AlignSeriesInputSpec(
    AcquiredSeriesInputSpec, LossesInputSpec, B0BrainInputSpec, AlignmentLimitsInputSpec
):
    b0_files = traits.List(File(exists=True), mandatory=True, desc="mean b0 of each, as acquired")
    mask_files = traits.List(File(exists=True), desc="brain mask of each: what the first does not show of it")
    keep_mask = traits.Bool(
        False, usedefault=True, desc="the mask has the shape of the corrected brain: take it as it is"
    )
    names = traits.List(traits.Str(), mandatory=True, desc="file name of each series, for the record")
    reference_reason = traits.Str(
        "it is the first series", usedefault=True, desc="why the first is the reference"
    )
    volumes = traits.List(traits.List(traits.Int()), desc="which volumes of each file these are; empty: all")
    excluded = traits.List(
        traits.Str(), desc="for each series, why it is left out whatever its alignment; empty: it is not"
    )
    compare_errors = traits.Bool(
        False, usedefault=True, desc="of one distortion: leave out those of three or more that harm the mean"
    )
    registration_file = File(exists=True, desc="JSON of the registration between the series, for the record")


class _AlignSeriesOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="the accepted series on the grid of the first, corrected")
    accepted = traits.List(traits.Int(), desc="indices of the accepted series")
    bval_file = File(exists=True, desc="b-values of the aligned series")
    bvec_file = File(exists=True, desc="directions of the aligned series, rotated with the head")
    b0_files = traits.List(File(exists=True), desc="mean b0 of each accepted series, aligned")
    mask_file = File(exists=True, desc="brain mask without the folds of the distortion")
    record_file = File(exists=True, desc="JSON of the alignment")
    noise_kept = traits.Float(desc="part of the noise SD that the interpolation left")


class AlignSeries(ResumableInterface):
    """Bring every volume of every series onto the grid of the first, in one interpolation.

    A series that is shaded clearly otherwise than the first, as with and without prescan normalisation, gets
    its shading. Series that fail a QC threshold are excluded, and where slices of one lost their signal, the
    others stand in. Where one measurement alone remains of several, because the others do not fit, which of
    them is the right one cannot be told: that is an error.
    """

    input_spec = _AlignSeriesInputSpec
    output_spec = _AlignSeriesOutputSpec

    def _run_interface(self, runtime):
        inputs, folder = self.inputs, Path(runtime.cwd)
        b0, affine = load(Path(inputs.b0_files[0]))
        reference = PlacedImage(b0, affine, load(Path(inputs.mask_file))[0] > 0.5)
        aligned: list[AlignedSeries] = []
        for index in range(len(inputs.in_files)):
            first = aligned[0] if aligned else None
            aligned.append(self._align(index, reference, first, folder))
        rows, limits = [one.row for one in aligned], self.inputs.limits()
        refuse_misfits(rows, limits, folder, may_leave_out_first=not self.inputs.keep_mask)
        aligned, warnings = self._without_spoiled(aligned, reference.mask, folder)
        self._write(folder, reference, aligned, warnings)
        return runtime

    def _without_spoiled(
        self, aligned: list[AlignedSeries], mask: Mask, folder: Path
    ) -> tuple[list[AlignedSeries], list[str]]:
        """The series, those refused that make the mean worse, and warnings of other spoiled ones."""
        if not self.inputs.compare_errors:
            return aligned, []
        judged, warnings = without_spoiled(aligned, mask, may_leave_out_first=not self.inputs.keep_mask)
        first = judged[0].row
        if not first.accepted:
            refuse_spoiled_reference(folder, Path(first.name), first.reason)
        return judged, warnings

    def _align(
        self, index: int, reference: PlacedImage, first: AlignedSeries | None, folder: Path
    ) -> AlignedSeries:
        """Resample one series, judge it, and write it."""
        series, mask = read_acquired(self.inputs, index, reference.image.shape), reference.mask
        even_intensity(series.data, series.motion)
        transforms = [motion @ series.between for motion in series.motion]
        voxel_maps = [one.between_voxels(reference.affine, series.affine) for one in transforms]
        mapping = (voxel_maps, series.displacement, series.axis, mask)
        data = resample_series(series.data, *mapping, signed=series.signed)
        seen, fractions = series_view(series.data.shape[:3], *mapping)
        gradients = undo_rotations(series.gradients, transforms)
        lost = place_losses(self.inputs, index, series.data.shape[:3], voxel_maps, mask.shape)
        own = ResampledSeries(mean_b0(data, gradients), gradients, seen, lost)
        qc = AlignmentQC.of_reference()
        if first is not None:
            qc, factor = self._compare(index, reference, series, own, first)
            if factor is not None:
                data *= factor[..., None]
            fill_unseen(data, own, first, mask)
        return AlignedSeries(
            mean_b0(data, gradients),
            gradients,
            seen,
            lost,
            save_like(data, Path(self.inputs.in_files[0]), folder / f"aligned_{index + 1}.nii.gz"),
            series_noise_kept(series.data.shape[:3], *mapping),
            self._row(index, reference, series, qc, fractions),
        )

    def _compare(
        self,
        index: int,
        reference: PlacedImage,
        series: AcquiredSeries,
        own: ResampledSeries,
        first: AlignedSeries,
    ) -> tuple[AlignmentQC, NDArray[np.float32] | None]:
        """How a series lies, and the factor that gives it the shading of the first, where theirs differs."""
        whole = own.seen & reference.mask & ~own.lost_of_b0 & ~first.lost_of_b0
        # What lost its signal is neither shape nor shading.
        b0, target = (np.where(own.lost_of_b0 | first.lost_of_b0, 0, one.b0) for one in (own, first))
        # Where a masked series is zero, another stands in: nothing can be compared.
        views = own.seen & (own.b0 != 0), whole
        opposite = self._opposite_distortion(index, reference, (b0, target), whole)
        alike = None if opposite else self._judge_shaded(index, reference, series, (b0, target), views)
        if alike is None:
            found = self._judge(index, reference, series, (b0, target), views)
            reason = "; ".join(filter(None, (found.reason, opposite)))
            return replace(found, reason=reason), None
        return alike, relative_shading(target, b0, whole, reference.voxel_size_mm, FINE).factor

    def _judge(
        self,
        index: int,
        reference: PlacedImage,
        series: AcquiredSeries,
        b0s: tuple[NDArray[np.float32], NDArray[np.float32]],
        views: tuple[Mask, Mask],
    ) -> AlignmentQC:
        """How a series lies, by its b0 and that of the first: where it is seen, and where both are whole."""
        b0, first = b0s
        acquired = self._acquired_b0(index, reference)
        before, _ = show_on(acquired, Affine(), reference)
        target = replace(reference, image=first)
        voxel_map = series.between.between_voxels(reference.affine, series.affine)
        noise = PairNoise.measure(reference.image, reference.mask, acquired.image, voxel_map)
        seen, whole = views
        return judge_series(target, before, b0, seen, series.between, self.inputs.limits(), noise, whole)

    def _judge_shaded(
        self,
        index: int,
        reference: PlacedImage,
        series: AcquiredSeries,
        b0s: tuple[NDArray[np.float32], NDArray[np.float32]],
        views: tuple[Mask, Mask],
    ) -> AlignmentQC | None:
        """The same without what their shading differs by, as of `judge_shaded_series`."""
        b0, first = b0s
        before, _ = show_on(self._acquired_b0(index, reference), Affine(), reference)
        target = replace(reference, image=first)
        return judge_shaded_series(target, before, b0, views, series.between, self.inputs.limits())

    def _opposite_distortion(
        self,
        index: int,
        reference: PlacedImage,
        b0s: tuple[NDArray[np.float32], NDArray[np.float32]],
        whole: Mask,
    ) -> str:
        """Why a series cannot be averaged with the first whose distortion it has the other way round.

        Most often a sidecar states the wrong polarity. Without a sidecar, all axes are tried.
        """
        b0, first = b0s
        along = self.inputs.phase_encoding[index] if isdefined(self.inputs.phase_encoding) else []
        axes = [phase_encoding_axis(along, reference.affine)] if along else [0, 1, 2]
        found = find_opposite_distortion(first, b0, whole, reference.voxel_size_mm, axes)
        return "" if found is None else found.reason(self.inputs.names[0])

    def _acquired_b0(self, index: int, reference: PlacedImage) -> PlacedImage:
        return PlacedImage(*load(Path(self.inputs.b0_files[index])), reference.mask)

    def _row(
        self,
        index: int,
        reference: PlacedImage,
        series: AcquiredSeries,
        qc: AlignmentQC,
        in_view: list[float],
    ) -> SeriesRow:
        inputs = self.inputs
        reason = inputs.excluded[index] if isdefined(inputs.excluded) else ""
        picked = inputs.volumes[index] if isdefined(inputs.volumes) else []
        volumes = list(picked) or list(range(len(series.motion)))
        centre = series.between.apply(reference.brain_points.mean(axis=0))
        motion = measure_motion(series.motion, centre, volumes, reference.brain_size)
        columns = volume_motion(motion, volumes, in_view)
        moved_mm = eddy_displacement_mm(series.motion, series.between.apply(reference.brain_points))
        in_first = self._part_in_first(index, reference, series)
        told = (qc, reason, motion, columns, moved_mm, in_first, reference.brain_size)
        return SeriesRow(inputs.names[index], *told)

    def _part_in_first(self, index: int, reference: PlacedImage, series: AcquiredSeries) -> float:
        """Part of the brain of a series that the first shows: all of it where a mask says what counts."""
        if self.inputs.keep_mask or not isdefined(self.inputs.mask_files):
            return 1.0
        mask = load(Path(self.inputs.mask_files[index]))[0] > 0.5
        brain = PlacedImage(mask.astype(np.float32), series.affine, mask)
        return part_in_view(brain, ~series.between, reference)

    def _write(
        self, folder: Path, reference: PlacedImage, aligned: list[AlignedSeries], warnings: list[str]
    ) -> None:
        inputs, model = self.inputs, Path(self.inputs.b0_files[0])
        accepted = [index for index, one in enumerate(aligned) if one.row.accepted]
        used = [aligned[index] for index in accepted]
        let_others_stand_in(used, reference.mask)
        b0s, mask = [one.b0_of_file() for one in used], reference.mask
        if isdefined(inputs.displacement_files) and not inputs.keep_mask:
            # The mask that came in has the shape of the distorted brain.
            mean_file = save_like(np.mean(b0s, axis=0), model, folder / "corrected_b0.nii.gz")
            seed = inputs.b0_mask_seed
            mask = find_b0_brain(mean_file, inputs.b0_mask_method, folder, random_seed=seed).mask
        covered = np.all([one.seen & (b0 != 0) for one, b0 in zip(used, b0s, strict=True)], axis=0)
        mask_file = save_like(mask & covered, model, folder / "mask.nii.gz", np.uint8)
        table = mean_gradients([one.gradients for one in used])
        bval, bvec = write_gradients(table, reference.affine, folder / "aligned")
        found = RegistrationRecord()
        if isdefined(inputs.registration_file):
            # That of a pair tells of the distortion, too.
            found = read_typed(DistortionRecord, Path(inputs.registration_file))
        found = replace(found, warnings=(*warnings, *found.warnings))
        record = series_record([one.row for one in aligned], inputs.reference_reason, found)
        self._results.update(
            out_files=[os.fspath(one.path) for one in used],
            accepted=accepted,
            b0_files=[
                os.fspath(save_like(b0, model, folder / f"b0_{index + 1}.nii.gz"))
                for index, b0 in zip(accepted, b0s, strict=True)
            ],
            mask_file=os.fspath(mask_file),
            bval_file=os.fspath(bval),
            bvec_file=os.fspath(bvec),
            record_file=write_record(record, folder / "alignment.json"),
            noise_kept=float(np.sqrt(np.mean([one.noise_kept**2 for one in used]))),
        )
