"""Node that resamples T1w repetitions onto one grid and excludes those that do not fit."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from n2a_bids.algorithms.preparation.gaps import Gaps
from n2a_bids.algorithms.quality.alignment_checks import AlignmentQC
from n2a_bids.algorithms.quality.voxel_sizes import unlike_voxels
from n2a_bids.algorithms.registration.alignment import bring_to_grid, is_negligible, judge_alignment
from n2a_bids.algorithms.registration.placed_images import PlacedImage
from n2a_bids.algorithms.registration.resampling import KERNEL
from n2a_bids.algorithms.registration.rigid import Matrix, midspace_transforms
from n2a_bids.errors import BIDSDataError
from n2a_bids.interfaces.alignment_limits import AlignmentLimitsInputSpec
from n2a_bids.interfaces.anat.copies import copy_reasons, find_shared_noise, partial_warnings
from n2a_bids.interfaces.anat.judged_repetitions import (
    JudgedRepetition,
    accepted_indices,
    is_identity,
    let_others_stand_in,
    lies_there,
    move_phase,
    moved_grid,
    must_stand_in,
    note_misfits,
    too_few,
)
from n2a_bids.interfaces.anat.spoiled_runs import find_spoiled, without_spoiled
from n2a_bids.interfaces.odd_repetitions import refuse_spoiled_reference
from n2a_bids.interfaces.resumable import ResumableInterface
from n2a_bids.interfaces.shading import shading_warnings
from n2a_bids.io.gaps import load_gaps
from n2a_bids.io.images import load, load_mask, same_grid, save_like
from n2a_bids.io.json import write_record
from n2a_bids.io.transforms import read_itk_transform, write_itk_transform
from n2a_bids.record.alignment import AlignedRepetition, AlignmentRecord

_NEGLIGIBLE_VOXELS = 0.05
"""A shift by this much changes a fine structure by less than one interpolation would."""


class _AlignRepetitionsInputSpec(AlignmentLimitsInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, minlen=2, desc="all repetitions")
    index = traits.Int(mandatory=True, desc="index of the reference")
    reference_mask = File(exists=True, mandatory=True, desc="brain mask of the reference")
    transforms = traits.List(File(exists=True), mandatory=True, desc="of the others, in order")
    gap_files = traits.List(traits.Str(), desc="maps of what was not measured, empty where there is none")
    values_files = traits.List(
        File(exists=True), desc="what is brought to the grid in place of each repetition, on its grid"
    )
    phase_files = traits.List(traits.Str(), desc="smooth phase of each repetition, radians, on its grid")
    contrast_to_noise = traits.List(traits.Float(), mandatory=True, desc="quality of each repetition")
    reference_reason = traits.Str(mandatory=True, desc="why the reference was chosen")
    may_leave_out_reference = traits.Bool(
        True, usedefault=True, desc="where it fits no other: false where a mask was given, which is its own"
    )
    may_leave_out_spoiled_reference = traits.Bool(
        True, usedefault=True, desc="where the mean is better without it: false also of runs of one echo"
    )
    processing_steps = traits.List(traits.Int(), desc="of each repetition: a copy with more of them goes")
    match_shading = traits.Bool(True, usedefault=True, desc="take out shading that differs: of one contrast")
    space = traits.Enum("reference", "midspace", usedefault=True, desc="grid position of the result")


class AlignedOutputSpec(TraitedSpec):
    """What later steps know of repetitions on one grid, however they came there."""

    out_files = traits.List(File(exists=True), desc="accepted repetitions on one grid, with the reference")
    reference_file = File(exists=True, desc="the reference on that grid")
    accepted = traits.List(traits.Int(), desc="indices of the accepted repetitions")
    out_transforms = traits.List(File(exists=True), desc="grid world to world of each accepted repetition")
    brain_mask = File(exists=True, desc="brain mask on the grid")
    common_mask = File(exists=True, desc="brain inside the field of view of every accepted repetition")
    record_file = File(exists=True, desc="JSON of the alignment")
    reference = traits.List(traits.Int(), desc="index of the reference, alone")
    moved = traits.List(traits.Int(), desc="indices of accepted repetitions other than the reference")
    before_files = traits.List(File(exists=True), desc="these, before alignment")
    after_files = traits.List(File(exists=True), desc="these, after alignment")
    measured_file = File(
        exists=True, desc="how many repetitions were measured at each voxel, where some were not"
    )
    phase_file = File(exists=True, desc="phase of the reference on the grid, where phases were given")
    warnings = traits.List(traits.Str(), desc="what is missing of which repetition")


class AlignRepetitions(ResumableInterface):
    """Bring repetitions to one grid by one interpolation each, and exclude those that fail a QC threshold.

    A repetition that already lies on the grid of the reference, to a twentieth of a voxel, is not
    interpolated at all. In midspace every repetition, the reference too, is interpolated from its
    own half of the motion, so that all are treated alike. One that is shaded clearly otherwise than the
    reference, as with and without prescan normalisation, gets its shading. Where one of them was not
    measured (defaced, or beyond its field of view), the others stand in. Of three or more, those without
    which the mean is better, as after motion during the scan, are left out. Of complex images the magnitudes
    are judged, and the real-valued images interpolated.
    """

    input_spec = _AlignRepetitionsInputSpec
    output_spec = AlignedOutputSpec

    def _run_interface(self, runtime):
        folder, reference = Path(runtime.cwd), Path(self.inputs.in_files[self.inputs.index])
        grid = self._grid_of(reference)
        judged = self._judged(grid, reference)
        limits, may_leave_out_reference = self.inputs.limits(), self.inputs.may_leave_out_reference
        note_misfits(folder, judged, limits, may_leave_out_reference=may_leave_out_reference)
        repetitions, warnings = self._without_copies(judged)
        self._write_record(folder / "alignment.json", repetitions)
        if sum(one.accepted for one in repetitions) < 2:
            raise BIDSDataError(too_few(repetitions, limits))
        self._place(folder, repetitions, grid, reference, warnings)
        kept, named = self._without_spoiled(repetitions)
        first = kept[self.inputs.index]
        if not first.accepted:
            refuse_spoiled_reference(folder, first.path, first.qc.reason)
        if accepted_indices(kept) != accepted_indices(repetitions):
            self._write_record(folder / "alignment.json", kept)
            self._place(folder, kept, grid, reference, warnings)
        self._results["warnings"] += named
        return runtime

    def _without_spoiled(
        self, repetitions: list[JudgedRepetition]
    ) -> tuple[list[JudgedRepetition], list[str]]:
        """The repetitions, those refused that make the mean worse, and warnings of other spoiled ones."""
        if not self.inputs.match_shading:  # echoes differ by more than their errors
            return repetitions, []
        aligned = (self._results[name] for name in ("out_files", "out_transforms", "common_mask"))
        spoiled = find_spoiled(repetitions, *aligned)
        kept = without_spoiled(repetitions, spoiled, self.inputs.may_leave_out_spoiled_reference)
        return kept, [one.warning(kept[one.index].path.name) for one in spoiled if kept[one.index].accepted]

    def _place(
        self,
        folder: Path,
        repetitions: list[JudgedRepetition],
        grid: PlacedImage,
        reference: Path,
        warnings: list[str],
    ) -> None:
        """Bring the accepted repetitions to one grid, and name the files."""
        accepted = [repetition for repetition in repetitions if repetition.accepted]
        transforms = [repetition.transform for repetition in accepted]
        own = next(index for index, repetition in enumerate(accepted) if repetition.is_reference)
        if self.inputs.space == "midspace" and not all(is_identity(transform) for transform in transforms):
            transforms = midspace_transforms(transforms)
            grid = moved_grid(grid, transforms[own])
        self._results["warnings"] = list(warnings)
        self._results.pop("measured_file", None)
        files = self._write_images(folder, accepted, transforms, grid, reference)
        self._results.update(out_files=files, reference_file=files[own], reference=[self.inputs.index])
        self._move_phase(transforms[own], grid, folder / "phase.nii.gz")
        self._name_moved(repetitions, files)

    def _move_phase(self, transform: Matrix, grid: PlacedImage, out_file: Path) -> None:
        """Bring the phase of the reference to the grid, where there is one."""
        if isdefined(self.inputs.phase_files):
            phase = Path(self.inputs.phase_files[self.inputs.index])
            self._results["phase_file"] = os.fspath(move_phase(phase, transform, grid, out_file))

    def _name_moved(self, repetitions: list[JudgedRepetition], files: list[str]) -> None:
        """Which repetitions were accepted, and which of these are not the reference."""
        indices = accepted_indices(repetitions)
        moved = [index for index in indices if index != self.inputs.index]
        self._results.update(
            accepted=indices,
            moved=moved,
            before_files=[os.fspath(repetitions[index].path) for index in moved],
            after_files=[files[indices.index(index)] for index in moved],
        )

    def _grid_of(self, reference: Path) -> PlacedImage:
        """The reference with its mask and what was measured of it."""
        gaps = load_gaps(self._gap_files()[self.inputs.index])
        measured = None if gaps is None else gaps.measured
        return PlacedImage(*load(reference), load_mask(Path(self.inputs.reference_mask), reference), measured)

    def _judged(self, grid: PlacedImage, reference: Path) -> list[JudgedRepetition]:
        inputs = self.inputs
        found = [read_itk_transform(Path(path)) for path in inputs.transforms]
        found.insert(inputs.index, np.eye(4))
        repetitions = []
        maps = self._gap_files()
        for index, (name, transform) in enumerate(zip(inputs.in_files, found, strict=True)):
            path, gaps = Path(name), load_gaps(maps[index])
            if index == inputs.index:
                qc = AlignmentQC.of_reference()
            else:
                if same_grid(path, reference) and is_negligible(transform, grid, _NEGLIGIBLE_VOXELS):
                    transform = np.eye(4)
                qc = self._qc_of(path, transform, gaps, grid, reference)
            values = Path(inputs.values_files[index]) if isdefined(inputs.values_files) else path
            repetitions.append(JudgedRepetition(path, transform, qc, index == inputs.index, gaps, values))
        return repetitions

    def _qc_of(
        self, path: Path, transform: Matrix, gaps: Gaps | None, grid: PlacedImage, reference: Path
    ) -> AlignmentQC:
        """How well a repetition fits, and why it is refused; without BIDS nobody looked at voxels before."""
        image, affine = load(path)
        measured = None if gaps is None else gaps.measured
        limits, alike = self.inputs.limits(), self.inputs.match_shading
        qc = judge_alignment(image, affine, transform, grid, limits, measured, match_shading=alike)
        unlike = unlike_voxels(affine, grid.affine, reference.name)
        return replace(qc, reason=unlike) if unlike else qc

    def _gap_files(self) -> list[str]:
        given = self.inputs.gap_files
        return list(given) if isdefined(given) else [""] * len(self.inputs.in_files)

    def _without_copies(
        self, repetitions: list[JudgedRepetition]
    ) -> tuple[list[JudgedRepetition], list[str]]:
        """The repetitions, those that hold the noise of others refused; warnings of those that are left.

        Only accepted ones are compared: of a copy and its original that failed alike, neither is used.
        """
        accepted = accepted_indices(repetitions)
        steps = self.inputs.processing_steps or [0] * len(repetitions)
        # The reference first: of two equal images it is the one that stays.
        accepted.sort(key=lambda index: (index != self.inputs.index, steps[index]))
        files = [repetitions[index].path for index in accepted]
        shared = find_shared_noise(files, [repetitions[index].transform for index in accepted])
        reasons = copy_reasons(files, shared, range(len(files)))
        kept = [position for position in range(len(files)) if position not in reasons]
        judged = list(repetitions)
        for position, reason in reasons.items():
            one = judged[accepted[position]]
            judged[accepted[position]] = replace(one, qc=replace(one.qc, reason=reason))
        shadings = [(one.path.name, one.qc.shading) for one in judged if one.accepted]
        reference = Path(self.inputs.in_files[self.inputs.index]).name
        return judged, [*partial_warnings(files, shared, kept), *shading_warnings(shadings, reference)]

    def _write_images(
        self,
        folder: Path,
        accepted: list[JudgedRepetition],
        transforms: list[Matrix],
        grid: PlacedImage,
        reference: Path,
    ) -> list[str]:
        """Write images, transforms and masks; return the images."""
        files, transform_files, insides = [], [], []
        for number, (repetition, transform) in enumerate(zip(accepted, transforms, strict=True), start=1):
            name = folder / f"repetition-{number}"
            transform_files.append(os.fspath(write_itk_transform(transform, Path(f"{name}.txt"))))
            shaded = repetition.qc.shading is not None
            if is_identity(transform) and lies_there(repetition, reference) and not shaded:
                files.append(os.fspath(repetition.values))
                insides.append(repetition.measured)
                continue
            aligned, inside = bring_to_grid(
                *load(repetition.values), transform, grid, repetition.measured, match_shading=shaded
            )
            insides.append(inside)
            files.append(os.fspath(save_like(aligned, reference, Path(f"{name}.nii.gz"))))
        if must_stand_in(accepted, insides, grid):
            filled = let_others_stand_in(folder, accepted, transforms, files, insides, grid)
            files = filled.files
            self._results["measured_file"] = os.fspath(filled.measured_file)
            self._results["warnings"] += filled.warnings
        common = np.logical_and.reduce([grid.mask, *(inside for inside in insides if inside is not None)])
        brain, common_file = folder / "brain_mask.nii.gz", folder / "common_mask.nii.gz"
        self._results.update(
            out_transforms=transform_files,
            brain_mask=os.fspath(save_like(grid.mask, reference, brain, np.uint8)),
            common_mask=os.fspath(save_like(common, reference, common_file, np.uint8)),
        )
        return files

    def _write_record(self, out_file: Path, repetitions: list[JudgedRepetition]) -> None:
        reference = Path(self.inputs.in_files[self.inputs.index])
        record = AlignmentRecord(
            reference=reference.name,
            reference_reason=self.inputs.reference_reason,
            space=self.inputs.space,
            interpolation=f"{KERNEL}; one interpolation",
            repetitions=tuple(
                AlignedRepetition(
                    file=repetition.path.name,
                    **asdict(repetition.qc),
                    accepted=repetition.accepted,
                    interpolated=self.inputs.space == "midspace" or not lies_there(repetition, reference),
                    contrast_to_noise=ratio,
                )
                for repetition, ratio in zip(repetitions, self.inputs.contrast_to_noise, strict=True)
            ),
        )
        self._results["record_file"] = write_record(record, out_file)
