"""T1w repetitions with what the alignment found for each, and the error where too few are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from n2a_bids.algorithms.normalization import Mask
from n2a_bids.algorithms.preparation.gaps import Gaps
from n2a_bids.algorithms.registration.alignment import (
    AlignmentQC,
    Grid,
    bring_to_grid,
    move_mask,
)
from n2a_bids.algorithms.registration.transforms import Matrix
from n2a_bids.io.images import load, same_grid, save_like


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
        return not self.qc.reason


def is_identity(transform: Matrix) -> bool:
    """Whether a transform moves nothing."""
    return bool(np.array_equal(transform, np.eye(4)))


def lies_there(repetition: JudgedRepetition, reference: Path) -> bool:
    """Whether a repetition needs no interpolation to lie on the grid of the reference."""
    return is_identity(repetition.transform) and same_grid(repetition.path, reference)


def too_few(repetitions: list[JudgedRepetition]) -> str:
    """Why there are not enough repetitions, with the reason against each."""
    reference = next(repetition.path for repetition in repetitions if repetition.is_reference)
    refused = "; ".join(
        f"{repetition.path.name}: {repetition.qc.reason}"
        for repetition in repetitions
        if not repetition.accepted
    )
    return (
        f"{reference}: expected at least one more repetition of this image that can be aligned with it, "
        f"found none. {refused}. Look at the images; put a second acquisition in place of a copy, exclude "
        "wrong images with --bids-filter-file, or give a better brain mask with --derivatives NAME=PATH"
    )


def accepted_indices(repetitions: Sequence[JudgedRepetition]) -> list[int]:
    """Indices of the repetitions that passed."""
    return [index for index, repetition in enumerate(repetitions) if repetition.accepted]


def move_phase(phase: Path, transform: Matrix, grid: Grid, out_file: Path) -> Path:
    """Write a phase, in radians, on the grid: its cosine and sine are interpolated, which do not wrap."""
    angle, affine = load(phase)
    if is_identity(transform):
        return save_like(angle, phase, out_file)
    cosine, sine = (
        bring_to_grid(part, affine, transform, grid)[0] for part in (np.cos(angle), np.sin(angle))
    )
    return save_like(np.arctan2(sine, cosine), phase, out_file)


def moved_grid(grid: Grid, transform: Matrix) -> Grid:
    """The reference in its own half of the motion."""
    centred, inside = bring_to_grid(grid.image, grid.affine, transform, grid, grid.measured)
    brain = move_mask(grid.mask, grid.affine, transform)
    return Grid(centred, grid.affine, brain, None if grid.measured is None else inside)
