"""Aligned T1w repetitions: QC of each, which are excluded, and gaps filled from the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np

from n2a_bids.algorithms.normalization import Mask
from n2a_bids.algorithms.preparation.gap_filling import StoodIn, fill_aligned
from n2a_bids.algorithms.preparation.gaps import Gaps, zone_value
from n2a_bids.algorithms.quality.alignment_checks import AlignmentQC, QCThresholds, shows_too_little
from n2a_bids.algorithms.registration.alignment import bring_to_grid, move_mask
from n2a_bids.algorithms.registration.placed_images import PlacedImage
from n2a_bids.algorithms.transforms import Affine, Matrix
from n2a_bids.external.t1w_brain import GIVE_A_MASK
from n2a_bids.interfaces.odd_repetitions import note_odd_reference, note_odd_repetitions
from n2a_bids.io.images import load, same_grid, save_like

_ALONE = "where others were measured: these alone stand there, with more noise than elsewhere"


@dataclass(frozen=True, slots=True)
class JudgedRepetition:
    """One repetition and how it lies."""

    path: Path
    transform: Matrix
    qc: AlignmentQC
    is_reference: bool
    gaps: Gaps | None
    values: Path
    """What goes into the result: the image itself, or the real-valued one of a complex image."""

    @property
    def measured(self) -> Mask | None:
        """Where it holds a measurement; None for everywhere."""
        return None if self.gaps is None else self.gaps.measured

    @property
    def accepted(self) -> bool:
        """Whether nothing speaks against the repetition."""
        return not self.qc.reason


def is_identity(transform: Matrix) -> bool:
    """Whether a transform moves nothing."""
    return bool(np.array_equal(transform, np.eye(4)))


def lies_there(repetition: JudgedRepetition, reference: Path) -> bool:
    """Whether a repetition needs no interpolation to lie on the grid of the reference."""
    return is_identity(repetition.transform) and same_grid(repetition.path, reference)


def note_misfits(
    folder: Path,
    judged: Sequence[JudgedRepetition],
    limits: QCThresholds,
    *,
    may_leave_out_reference: bool,
) -> None:
    """Write an `OddRepetitions` where no repetition fits the reference, but some may be denoised.

    Of a pair, that is the reference beside an image that shows too little of the brain; of more images, the
    others, which may fit each other.

    Parameters
    ----------
    folder : Path
        Working directory of the step.
    judged : sequence of JudgedRepetition
        All of them.
    limits : QCThresholds
        By which they were judged.
    may_leave_out_reference : bool
        False where a mask was given, which is its own.
    """
    refused = [one for one in judged if not one.accepted]
    reasons = [(one.path.name, one.qc.reason) for one in refused]
    if len(refused) != len(judged) - 1:
        return
    if len(refused) == 1 and shows_too_little(refused[0].qc, limits):
        note_odd_repetitions(folder, dict(reasons))
    elif may_leave_out_reference:
        reference = next(one.path.name for one in judged if one.is_reference)
        note_odd_reference(folder, reference, reasons)


def too_few(repetitions: Sequence[JudgedRepetition], limits: QCThresholds) -> str:
    """Why there are not enough repetitions, with the reason against each."""
    reference = next(repetition.path for repetition in repetitions if repetition.is_reference)
    refused = "; ".join(
        f"{repetition.path.name}: {repetition.qc.reason}"
        for repetition in repetitions
        if not repetition.accepted
    )
    cut = all(one.accepted or shows_too_little(one.qc, limits) for one in repetitions)
    alone = "; to denoise the complete image alone, say so (n2a: --single)" if cut else ""
    return (
        f"{reference}: expected at least one more repetition of this image that can be aligned with it, "
        f"found none. {refused}. Look at the images; put a second acquisition in place of a copy, leave "
        f"wrong images out (n2a: --bids-filter-file), or, where the brain was missed, {GIVE_A_MASK}{alone}"
    )


def accepted_indices(repetitions: Sequence[JudgedRepetition]) -> list[int]:
    """Indices of the repetitions that passed."""
    return [index for index, repetition in enumerate(repetitions) if repetition.accepted]


def move_phase(phase: Path, transform: Matrix, grid: PlacedImage, out_file: Path) -> Path:
    """Write a phase, in radians, on the grid: its cosine and sine are interpolated, which do not wrap."""
    angle, affine = load(phase)
    if is_identity(transform):
        return save_like(angle, phase, out_file)
    cosine, sine = (
        bring_to_grid(part, affine, transform, grid)[0] for part in (np.cos(angle), np.sin(angle))
    )
    return save_like(np.arctan2(sine, cosine), phase, out_file)


def moved_grid(grid: PlacedImage, transform: Matrix) -> PlacedImage:
    """The reference in its own half of the motion."""
    centred, inside = bring_to_grid(grid.image, grid.affine, transform, grid, grid.measured)
    brain = move_mask(grid.mask, grid.affine, transform)
    return PlacedImage(centred, grid.affine, brain, None if grid.measured is None else inside)


@dataclass(frozen=True, slots=True)
class FilledRepetitions:
    """Files of aligned repetitions without gaps."""

    files: list[str]
    measured_file: Path
    """How many repetitions were measured at each voxel."""
    warnings: list[str]
    """A sentence for each repetition that lacks much of the head or brain."""


def must_stand_in(
    accepted: Sequence[JudgedRepetition], insides: Sequence[Mask | None], grid: PlacedImage
) -> bool:
    """Whether a repetition has gaps, or ends within the brain.

    A field of view that ends in neck or air, as after every motion, changes nothing that is told of the
    brain.

    Parameters
    ----------
    insides : sequence of (X, Y, Z) bool array or None
        Where each was measured, on the grid; None for everywhere.
    """
    if any(repetition.gaps is not None for repetition in accepted):
        return True
    return any(inside is not None and bool((grid.mask & ~inside).any()) for inside in insides)


def let_others_stand_in(
    folder: Path,
    accepted: Sequence[JudgedRepetition],
    transforms: Sequence[Matrix],
    files: Sequence[str],
    insides: Sequence[Mask | None],
    grid: PlacedImage,
) -> FilledRepetitions:
    """Write aligned images anew, and how many were measured where.

    Parameters
    ----------
    folder : Path
        Where files go.
    transforms : sequence of (4, 4) arrays
        World of the grid to world of each.
    files : sequence of str
        The aligned images.
    insides, grid
        As of `must_stand_in`.
    """
    everywhere = np.ones(grid.image.shape, bool)
    sources = [nb.load(repetition.path) for repetition in accepted]
    voxel_maps = [
        Affine(transform).between_voxels(grid.affine, source.affine)
        for source, transform in zip(sources, transforms, strict=True)
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
        [source.shape[:3] for source in sources],
    )
    return FilledRepetitions(
        [
            os.fspath(save_like(image, reference.path, folder / f"repetition-{number}.nii.gz"))
            for number, image in enumerate(found.data, start=1)
        ],
        save_like(found.n_measured, reference.path, folder / "n_measured.nii.gz", np.uint8),
        _describe_gaps([repetition.path.name for repetition in accepted], found),
    )


def _describe_gaps(names: Sequence[str], found: StoodIn) -> list[str]:
    """A sentence for each part of the head that a repetition lacks."""
    warnings = []
    for name, missing_ml, unseen_ml in zip(names, found.missing_ml, found.unseen_ml, strict=True):
        warnings += [_describe_missing(name, missing_ml)] if missing_ml else []
        warnings += [_describe_unseen(name, unseen_ml)] if unseen_ml else []
    return warnings


def _describe_missing(name: str, missing_ml: float) -> str:
    return (
        f"{name}: {missing_ml:.0f} ml of the head hold one value and no measurement (defaced, skull-stripped "
        f"or padded), {_ALONE}"
    )


def _describe_unseen(name: str, unseen_ml: float) -> str:
    return f"{name}: {unseen_ml:.0f} ml of the brain lie beyond its field of view, {_ALONE}"
