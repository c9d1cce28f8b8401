"""Repetitions onto one grid: resample once, refuse what does not fit."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from n2a_bids.algorithms.alignment import (
    Gates,
    Grid,
    Judgement,
    bring_to_grid,
    is_negligible,
    judge,
    move_mask,
)
from n2a_bids.algorithms.gaps import Gaps, zone_value
from n2a_bids.algorithms.normalization import Mask
from n2a_bids.algorithms.rigid import Matrix, halfway_transforms
from n2a_bids.algorithms.standing_in import fill_aligned
from n2a_bids.alignment_record import AlignedRepetition, AlignmentRecord
from n2a_bids.errors import BIDSDataError
from n2a_bids.images import load, load_mask, read_itk_transform, same_grid, save_like, write_itk_transform
from n2a_bids.interfaces.copies import copy_reasons, find_shared_noise, partial_warnings
from n2a_bids.interfaces.repair import load_gaps
from n2a_bids.json_objects import record_text

_NEGLIGIBLE_VOXELS = 0.05
"""A shift by this much changes a fine structure by less than one interpolation would."""
_INTERPOLATION = "Fourier upsampling by two, then quintic B-spline; one interpolation"


class _AlignRepetitionsInputSpec(BaseInterfaceInputSpec):
    in_files = traits.List(File(exists=True), mandatory=True, minlen=2, desc="all repetitions")
    index = traits.Int(mandatory=True, desc="place of the reference")
    reference_mask = File(exists=True, mandatory=True, desc="brain mask of the reference")
    transforms = traits.List(File(exists=True), mandatory=True, desc="of the others, in order")
    gap_files = traits.List(traits.Str(), desc="maps of what was not measured, empty where there is none")
    contrast_to_noise = traits.List(traits.Float(), mandatory=True, desc="quality of each repetition")
    reference_reason = traits.Str(mandatory=True, desc="why the reference was chosen")
    processing_steps = traits.List(traits.Int(), desc="of each repetition: a copy with more of them goes")
    space = traits.Enum("reference", "halfway", usedefault=True, desc="grid position of the result")
    min_correlation = traits.Float(mandatory=True, desc="gate, see Gates")
    min_structure_correlation = traits.Float(mandatory=True, desc="gate, see Gates")
    max_rotation_deg = traits.Float(mandatory=True, desc="gate, see Gates")
    max_translation_mm = traits.Float(mandatory=True, desc="gate, see Gates")
    min_overlap = traits.Float(mandatory=True, desc="gate, see Gates")


class _AlignRepetitionsOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="accepted repetitions on one grid, with the reference")
    reference_file = File(exists=True, desc="the reference on that grid")
    accepted = traits.List(traits.Int(), desc="places of the accepted repetitions")
    out_transforms = traits.List(File(exists=True), desc="grid world to world of each accepted repetition")
    brain_mask = File(exists=True, desc="brain mask on the grid")
    common_mask = File(exists=True, desc="brain inside the field of view of every accepted repetition")
    figures_file = File(exists=True, desc="JSON of the alignment")
    reference = traits.List(traits.Int(), desc="place of the reference, alone")
    moved = traits.List(traits.Int(), desc="places of accepted repetitions other than the reference")
    before_files = traits.List(File(exists=True), desc="these, before alignment")
    after_files = traits.List(File(exists=True), desc="these, after alignment")
    measured_file = File(
        exists=True, desc="how many repetitions were measured at each voxel, where some were not"
    )
    warnings = traits.List(traits.Str(), desc="what is missing of which repetition")


@dataclass(frozen=True, slots=True)
class _Repetition:
    """One repetition and how it lies."""

    path: Path
    transform: Matrix
    judgement: Judgement
    is_reference: bool
    gaps: Gaps | None = None

    @property
    def measured(self) -> Mask | None:
        """Where it holds a measurement; None for everywhere."""
        return None if self.gaps is None else self.gaps.measured

    @property
    def accepted(self) -> bool:
        return not self.judgement.reason


class AlignRepetitions(SimpleInterface):
    """Bring repetitions to one grid by one interpolation each, and leave out those that fail a gate.

    A repetition that already lies on the grid of the reference, to a twentieth of a voxel, is not
    interpolated at all. In half-way space every repetition, the reference too, is interpolated from its
    own half of the motion, so that all are treated alike. Where one of them was not measured (defaced, say),
    the others stand in.
    """

    input_spec = _AlignRepetitionsInputSpec
    output_spec = _AlignRepetitionsOutputSpec

    def _run_interface(self, runtime):
        folder, reference = Path(runtime.cwd), Path(self.inputs.in_files[self.inputs.index])
        image, affine = load(reference)
        reference_gaps = load_gaps(self._gap_files()[self.inputs.index])
        measured = None if reference_gaps is None else reference_gaps.measured
        grid = Grid(image, affine, load_mask(Path(self.inputs.reference_mask), reference), measured)
        repetitions, warnings = self._without_copies(self._judged(grid, reference))
        self._results["warnings"] = warnings
        self._write_record(folder / "alignment.json", repetitions)
        accepted = [repetition for repetition in repetitions if repetition.accepted]
        if len(accepted) < 2:
            raise BIDSDataError(_too_few(repetitions))
        transforms = [repetition.transform for repetition in accepted]
        own = next(number for number, repetition in enumerate(accepted) if repetition.is_reference)
        if self.inputs.space == "halfway" and not all(_is_identity(transform) for transform in transforms):
            transforms = halfway_transforms(transforms)
            centred, inside = bring_to_grid(image, affine, transforms[own], grid, measured)
            brain = move_mask(grid.mask, affine, transforms[own])
            grid = Grid(centred, affine, brain, None if measured is None else inside)
        files = self._write_images(folder, accepted, transforms, grid, reference)
        places = [place for place, repetition in enumerate(repetitions) if repetition.accepted]
        moved = [place for place in places if place != self.inputs.index]
        self._results.update(
            out_files=files,
            reference_file=files[own],
            accepted=places,
            reference=[self.inputs.index],
            moved=moved,
            before_files=[os.fspath(repetitions[place].path) for place in moved],
            after_files=[files[places.index(place)] for place in moved],
        )
        return runtime

    def _judged(self, grid: Grid, reference: Path) -> list[_Repetition]:
        inputs = self.inputs
        gates = Gates(**{name: getattr(inputs, name) for name in Gates.__slots__})
        found = [read_itk_transform(Path(path)) for path in inputs.transforms]
        found.insert(inputs.index, np.eye(4))
        repetitions = []
        maps = self._gap_files()
        for place, (name, transform) in enumerate(zip(inputs.in_files, found, strict=True)):
            path, gaps = Path(name), load_gaps(maps[place])
            if place == inputs.index:
                judgement = Judgement(0.0, 0.0, 1.0, 1.0, 1.0, 1.0, reason="")
            else:
                if same_grid(path, reference) and is_negligible(transform, grid, _NEGLIGIBLE_VOXELS):
                    transform = np.eye(4)
                measured = None if gaps is None else gaps.measured
                judgement = judge(*load(path), transform, grid, gates, measured)
            repetitions.append(_Repetition(path, transform, judgement, place == inputs.index, gaps))
        return repetitions

    def _gap_files(self) -> list[str]:
        given = self.inputs.gap_files
        return list(given) if isdefined(given) else [""] * len(self.inputs.in_files)

    def _without_copies(self, repetitions: list[_Repetition]) -> tuple[list[_Repetition], list[str]]:
        """The repetitions, those that hold the noise of others refused; warnings of what is shared in part.

        Only accepted ones are compared: of a copy and its original that failed alike, neither is used.
        """
        accepted = [place for place, repetition in enumerate(repetitions) if repetition.accepted]
        steps = self.inputs.processing_steps or [0] * len(repetitions)
        # The reference first: of two equal images it is the one that stays.
        accepted.sort(key=lambda place: (place != self.inputs.index, steps[place]))
        files = [repetitions[place].path for place in accepted]
        shared = find_shared_noise(files, [repetitions[place].transform for place in accepted])
        reasons = copy_reasons(files, shared, range(len(files)))
        kept = [number for number in range(len(files)) if number not in reasons]
        judged = list(repetitions)
        for number, reason in reasons.items():
            one = judged[accepted[number]]
            judged[accepted[number]] = replace(one, judgement=replace(one.judgement, reason=reason))
        return judged, partial_warnings(files, shared, kept)

    def _write_images(
        self, folder: Path, accepted: list[_Repetition], transforms: list[Matrix], grid: Grid, reference: Path
    ) -> list[str]:
        """Write images, transforms and masks; return the images."""
        files, transform_files, insides = [], [], []
        for number, (repetition, transform) in enumerate(zip(accepted, transforms, strict=True), start=1):
            name = folder / f"repetition-{number}"
            transform_files.append(os.fspath(write_itk_transform(transform, Path(f"{name}.txt"))))
            if _is_identity(transform) and _lies_there(repetition, reference):
                files.append(os.fspath(repetition.path))
                insides.append(repetition.measured)
                continue
            aligned, inside = bring_to_grid(*load(repetition.path), transform, grid, repetition.measured)
            insides.append(inside)
            files.append(os.fspath(save_like(aligned, reference, Path(f"{name}.nii.gz"))))
        if any(repetition.gaps is not None for repetition in accepted):
            files = self._fill_gaps(folder, accepted, transforms, files, insides, grid)
        common = np.logical_and.reduce([grid.mask, *(inside for inside in insides if inside is not None)])
        brain, common_file = folder / "brain_mask.nii.gz", folder / "common_mask.nii.gz"
        self._results.update(
            out_transforms=transform_files,
            brain_mask=os.fspath(save_like(grid.mask, reference, brain, np.uint8)),
            common_mask=os.fspath(save_like(common, reference, common_file, np.uint8)),
        )
        return files

    def _fill_gaps(
        self,
        folder: Path,
        accepted: list[_Repetition],
        transforms: list[Matrix],
        files: list[str],
        insides: list[Mask | None],
        grid: Grid,
    ) -> list[str]:
        """Write aligned images anew where others stand in for one, and how many were measured where."""
        everywhere = np.ones(grid.image.shape, bool)
        voxel_maps = [
            np.linalg.inv(nb.load(repetition.path).affine) @ transform @ grid.affine
            for repetition, transform in zip(accepted, transforms, strict=True)
        ]
        reference = next(repetition for repetition in accepted if repetition.is_reference)
        has_zone = reference.gaps is not None and reference.gaps.zone.any()
        found = fill_aligned(
            np.stack([load(Path(path))[0] for path in files]),
            np.stack([everywhere if inside is None else inside for inside in insides]),
            [repetition.gaps for repetition in accepted],
            voxel_maps,
            grid,
            zone_value(load(reference.path)[0], reference.gaps) if has_zone else None,
        )
        self._results["measured_file"] = os.fspath(
            save_like(found.n_measured, reference.path, folder / "n_measured.nii.gz", np.uint8)
        )
        self._results["warnings"] += [
            _describe_missing(repetition.path.name, missing_ml)
            for repetition, missing_ml in zip(accepted, found.missing_ml, strict=True)
            if missing_ml
        ]
        return [
            os.fspath(save_like(image, reference.path, folder / f"repetition-{number}.nii.gz"))
            for number, image in enumerate(found.data, start=1)
        ]

    def _write_record(self, out_file: Path, repetitions: list[_Repetition]) -> None:
        reference = Path(self.inputs.in_files[self.inputs.index])
        record = AlignmentRecord(
            reference=reference.name,
            reference_reason=self.inputs.reference_reason,
            space=self.inputs.space,
            interpolation=_INTERPOLATION,
            repetitions=tuple(
                AlignedRepetition(
                    file=repetition.path.name,
                    **asdict(repetition.judgement),
                    accepted=repetition.accepted,
                    interpolated=self.inputs.space == "halfway" or not _lies_there(repetition, reference),
                    contrast_to_noise=ratio,
                )
                for repetition, ratio in zip(repetitions, self.inputs.contrast_to_noise, strict=True)
            ),
        )
        out_file.write_text(record_text(record))
        self._results["figures_file"] = os.fspath(out_file)


def _is_identity(transform: Matrix) -> bool:
    return bool(np.array_equal(transform, np.eye(4)))


def _lies_there(repetition: _Repetition, reference: Path) -> bool:
    """Whether a repetition needs no interpolation to lie on the grid of the reference."""
    return _is_identity(repetition.transform) and same_grid(repetition.path, reference)


def _describe_missing(name: str, missing_ml: float) -> str:
    return (
        f"{name}: {missing_ml:.0f} ml of the head hold one value and no measurement (defaced, skull-stripped "
        "or padded), where others were measured: these alone stand there, with more noise than elsewhere"
    )


def _too_few(repetitions: list[_Repetition]) -> str:
    reference = next(repetition.path for repetition in repetitions if repetition.is_reference)
    refused = "; ".join(
        f"{repetition.path.name}: {repetition.judgement.reason}"
        for repetition in repetitions
        if not repetition.accepted
    )
    return (
        f"{reference}: expected at least one more repetition of this image that can be aligned with it, "
        f"found none. {refused}. Look at the images; put a second acquisition in place of a copy, exclude "
        "wrong images with --bids-filter-file, or give a better brain mask with --derivatives NAME=PATH"
    )
