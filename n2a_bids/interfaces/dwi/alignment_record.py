"""Record of the alignment of diffusion series, with warnings of motion, or the error where none is left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from n2a_bids.algorithms.distortion.field import KERNEL
from n2a_bids.algorithms.quality.alignment_checks import (
    AlignmentQC,
    QCThresholds,
    rounded_down,
    shows_too_little,
)
from n2a_bids.algorithms.registration.motion_measures import MotionMeasures
from n2a_bids.enumeration import enumerated
from n2a_bids.errors import BIDSDataError
from n2a_bids.interfaces.odd_repetitions import note_odd_reference, note_odd_repetitions
from n2a_bids.interfaces.shading import shading_warnings
from n2a_bids.record.alignment import AlignedRepetition, AlignmentRecord, RegistrationRecord, VolumeMotion

_REMEDY = "exclude a wrong series with --bids-filter-file, or denoise each alone with --dwi-pairing single"
"""For series that cannot be averaged."""
_LEAST_IN_VIEW = 0.95
"""Part of the brain that a volume must show not to be named."""
_CLEARLY_LESS = 0.03
"""Of the brain, than most volumes of the series show."""
_MOST_NAMED = 3
_IMPLAUSIBLE_MM, _IMPLAUSIBLE_DEG = 20.0, 15.0
"""Of one volume against the first b0: in a head coil, rather a failed registration than a moved head. Animals
are as much nearer to theirs as they are smaller."""


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """What the record says about one series."""

    name: str
    """Its file name."""
    qc: AlignmentQC
    excluded: str
    """Why it is left out whatever its alignment; empty where it is not."""
    motion: MotionMeasures
    volumes: VolumeMotion
    """The motion, volume by volume."""
    eddy_currents_mm: float = 0.0
    """How far they moved any part of the brain."""
    in_first: float = 1.0
    """Part of its brain that lies in the view of the first series."""
    size: float = 1.0
    """Edge length of the brain of an animal over that of one of 200 ml, by `size_factor`."""

    @property
    def reason(self) -> str:
        """Why the series is left out; empty where it is used."""
        return self.excluded or self.qc.reason

    @property
    def accepted(self) -> bool:
        """Whether the series is used."""
        return not self.reason

    @property
    def record(self) -> AlignedRepetition:
        """The row, as the record holds it."""
        found = self.qc
        return AlignedRepetition(
            file=self.name,
            rotation_deg=round(found.rotation_deg, 3),
            translation_mm=round(found.translation_mm, 3),
            correlation_before=round(found.correlation_before, 4),
            correlation_after=round(found.correlation_after, 4),
            structure_correlation=round(found.structure_correlation, 4),
            overlap=round(found.overlap, 4),
            shading=found.shading,
            accepted=self.accepted,
            reason=self.reason,
            mean_framewise_displacement_mm=round(self.motion.mean_framewise_displacement_mm, 4),
            max_framewise_displacement_mm=round(self.motion.max_framewise_displacement_mm, 4),
            eddy_currents_mm=round(self.eddy_currents_mm, 2),
            volumes=self.volumes,
        )


def volume_motion(
    motion: MotionMeasures, numbers: Sequence[int], brain_in_view: Sequence[float]
) -> VolumeMotion:
    """Motion within a series, volume by volume.

    Parameters
    ----------
    motion : MotionMeasures
        Of C volumes.
    numbers : sequence of C ints
        Where they stand in the file of the series.
    brain_in_view : sequence of C floats
        Part of the brain that each volume shows.
    """
    return VolumeMotion(
        number=tuple(numbers),
        rotation_deg=_rounded(motion.rotation_deg),
        translation_mm=_rounded(motion.translation_mm),
        framewise_displacement_mm=_rounded(motion.framewise_displacement_mm),
        brain_in_view=tuple(brain_in_view),
    )


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 3) for value in values)


def series_record(
    rows: Sequence[SeriesRow],
    reference_reason: str,
    registration: RegistrationRecord,
    *,
    in_place: bool = False,
) -> AlignmentRecord:
    """The whole record.

    Parameters
    ----------
    rows : sequence of SeriesRow
        The reference first.
    reference_reason : str
        Why it is the reference.
    registration : RegistrationRecord
        How the motion between the series was found; its ``warnings`` join those of the record.
    in_place : bool
        The motion was measured and left.
    """
    used = [row.record for row in rows if row.accepted]
    shadings = [(row.file, row.shading) for row in used]
    return AlignmentRecord(
        warnings=(
            *(*cut_warnings(used), *motion_warnings(used, rows[0].size)),
            *(*shading_warnings(shadings, rows[0].name), *registration.warnings),
        ),
        reference=rows[0].name,
        reference_reason=reference_reason,
        space="reference",
        interpolation="" if in_place else f"{KERNEL}, once, motion and distortion together",
        in_place=in_place,
        motion_between_series=registration.motion_between_series,
        repetitions=tuple(row.record for row in rows),
    )


def refuse_misfits(
    rows: Sequence[SeriesRow], limits: QCThresholds, folder: Path, *, may_leave_out_first: bool
) -> None:
    """Stop where series cannot be averaged, and note without which the others may be denoised.

    Parameters
    ----------
    rows : sequence of SeriesRow
        The reference first.
    limits : QCThresholds
        By which they were judged.
    folder : Path
        Working directory of the step.
    may_leave_out_first : bool
        False where a mask was given, which is that of the first.

    Raises
    ------
    BIDSDataError
        Names the series, with what speaks against them.
    """
    first = rows[0].name
    misfits = [(row.name, row.qc.reason) for row in rows if row.qc.reason]
    if misfits and sum(row.accepted for row in rows) < 2:
        if all(shows_too_little(row.qc, limits) for row in rows if row.qc.reason):
            note_odd_repetitions(folder, dict(misfits))
        elif may_leave_out_first:
            note_odd_reference(folder, first, misfits)
        refused = "; ".join(f"{name}: {reason}" for name, reason in misfits)
        raise BIDSDataError(
            f"{first}: expected at least one more series that can be aligned with it, found none. {refused}. "
            f"Look at the b0s; {_REMEDY}"
        )
    cut = _reason_against_view(rows, limits.min_overlap)
    if cut and may_leave_out_first:
        note_odd_repetitions(folder, {first: cut})
        raise BIDSDataError(f"{first}: expected a view of the whole brain, but {cut}; {_REMEDY}")


def _reason_against_view(rows: Sequence[SeriesRow], least: float) -> str:
    """What speaks against a first series that would cut the brain which another shows; or nothing."""
    fullest = min((row for row in rows if row.accepted), key=lambda row: row.in_first, default=None)
    if fullest is None or fullest.in_first >= least:
        return ""
    return (
        f"it shows {rounded_down(fullest.in_first):.0%} of the brain that {fullest.name} shows, at least "
        f"{least:.0%} is needed"
    )


def cut_warnings(rows: Sequence[AlignedRepetition]) -> list[str]:
    """What took much of the brain out of view: the place of a series, or the motion of single volumes."""
    sentences = []
    for row in rows:
        in_view = np.array(row.volumes.brain_in_view)
        typical = float(np.median(in_view))
        if typical < _LEAST_IN_VIEW:
            sentences.append(
                f"{row.file} shows only {typical:.0%} of the brain of the first series, and the mask ends "
                "where its view ends"
            )
        moved = np.flatnonzero(in_view < min(_LEAST_IN_VIEW, typical - _CLEARLY_LESS))
        if moved.size:
            sentences.append(
                f"{row.file}: by motion, only {in_view[moved].min():.0%} of the brain is in view "
                f"({_named(row, moved)}), and the mask ends there; without this, with its b-value and "
                "direction, the mask would reach farther"
            )
    return sentences


def motion_warnings(rows: Sequence[AlignedRepetition], size: float = 1.0) -> list[str]:
    """Volumes that lie farther off, or are rotated further, than a head in a coil can be."""
    sentences = []
    for row in rows:
        shifts, angles = np.array(row.volumes.translation_mm), np.array(row.volumes.rotation_deg)
        far = np.flatnonzero((shifts > size * _IMPLAUSIBLE_MM) | (angles > _IMPLAUSIBLE_DEG))
        if far.size:
            sentences.append(
                f"{row.file}: motion of up to {shifts[far].max():.0f} mm and {angles[far].max():.0f} "
                f"degrees was found ({_named(row, far)}), more than is plausible within a series; look at "
                "the volumes, and remove them where alignment failed"
            )
    return sentences


def _named(row: AlignedRepetition, volumes: np.ndarray) -> str:
    numbers = [row.volumes.number[volume] for volume in volumes]
    return f"volume {enumerated(numbers, _MOST_NAMED)}, from 0"
