"""Records of alignment, registration and distortion correction: motion, QC, excluded repetitions.

As the record of the denoising (:mod:`n2a_bids.record.denoising`), under one name from the interface that
measures to sidecar, report and group table. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from n2a_bids.record.typed_json import NULL


@dataclass(frozen=True, slots=True)
class VolumeMotion:
    """Motion of the volumes of a diffusion series; all columns have one entry for each volume."""

    number: tuple[int, ...] = ()
    """Where the volume stands in the file of the series, from 0."""
    rotation_deg: tuple[float, ...] = ()
    """Against the first b0."""
    translation_mm: tuple[float, ...] = ()
    """Displacement of the centre of the brain."""
    framewise_displacement_mm: tuple[float, ...] = ()
    """Against the volume before."""
    brain_in_view: tuple[float, ...] = ()
    """Part of the brain that the volume shows, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedRepetition:
    """How one repetition was aligned with the reference, and whether it is used."""

    file: str = ""
    rotation_deg: float | None = None
    translation_mm: float | None = None
    """Displacement of the centre of the brain."""
    correlation_before: float | None = None
    """With the reference, in the brain, where the headers put the repetition."""
    correlation_after: float | None = None
    structure_correlation: float | None = None
    """Of the detail, in a band of spatial frequencies."""
    drift_pixels: tuple[float, ...] | None = None
    """Micrographs: shift against the reference along columns and rows."""
    overlap: float | None = None
    """Part of the brain of the reference that the repetition shows, 0 to 1."""
    shading: tuple[float, ...] | None = None
    """How bright the darkest and the brightest part of the brain are against the reference, mean 1,
    where that was taken out; None where they hardly differ."""
    accepted: bool = True
    reason: str = ""
    """Why the repetition is left out; empty where it is used."""
    interpolated: bool | None = None
    """T1w: whether it was resampled."""
    contrast_to_noise: float | None = None
    """T1w: spread of the brain over the noise SD."""
    mean_framewise_displacement_mm: float | None = None
    """Diffusion: over the volumes of the series; so are the next two."""
    max_framewise_displacement_mm: float | None = None
    eddy_currents_mm: float | None = None
    """Diffusion: how far they moved any part of the brain in any volume, along the phase-encoding axis."""
    volumes: VolumeMotion | None = None


ODD_REPETITIONS_FILE = "odd_repetitions.json"
"""Where a step that fails for some repetitions leaves an `OddRepetitions`: in its working directory."""


@dataclass(frozen=True, slots=True)
class OddRepetitions:
    """Repetitions without which the others may be denoised, as a reference that fits none of the others."""

    reasons: Mapping[str, str]
    """Why each is left out, by the name of its file without folders."""


@dataclass(frozen=True, slots=True)
class MotionBetweenSeries:
    """How the motion between diffusion series was searched for; one entry for each, the first still."""

    rounds: tuple[int, ...]
    last_step_voxels: tuple[float | None, ...]
    """How far the last round still moved the brain."""
    converged: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentRecord:
    """How the repetitions of a group were brought to one grid."""

    warnings: tuple[str, ...] = ()
    reference: str = ""
    """File name of the repetition on whose grid the others were brought."""
    reference_reason: str = ""
    space: str = ""
    """``reference``, or ``midspace``."""
    interpolation: str = ""
    in_place: bool = False
    """Diffusion: whether the series was denoised where it lies, its motion measured and left."""
    motion_between_series: MotionBetweenSeries | None = None
    frame_drift_pixels: tuple[tuple[float, ...], ...] = ()
    """Micrographs: where each frame of a movie that was used lay against the first, along columns and rows;
    empty where none had drifted. Repetitions are then sums of frames, moved back before."""
    repetitions: tuple[AlignedRepetition, ...] = ()

    @property
    def used(self) -> tuple[AlignedRepetition, ...]:
        """The repetitions that were not left out."""
        return tuple(row for row in self.repetitions if row.accepted)

    @property
    def drifts_pixels(self) -> tuple[float, ...]:
        """Micrographs: how far each frame of a movie, or else each exposure used, lay from the first."""
        rows = [row.drift_pixels for row in self.used if row.drift_pixels]
        return tuple(math.hypot(*shift) for shift in self.frame_drift_pixels or rows)


@dataclass(frozen=True, slots=True)
class FieldDisplacement:
    """How far susceptibility moved tissue along the phase-encoding axis, over the brain, in mm."""

    median: float | None = None
    percentile_95: float | None = None
    largest: float | None = None


@dataclass(frozen=True, slots=True)
class EddyCurrentsRecord:
    """Eddy currents of one series, for the node that joins those of several; see `EddyCurrents`."""

    axis: int
    centre_mm: tuple[float, ...]
    shift_mm: tuple[float, ...]
    slopes: tuple[tuple[float, ...], ...]
    """Displacement per mm along each array axis."""
    certainty: tuple[tuple[float, ...], ...]
    evidence: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRecord:
    """How diffusion series were registered with each other, before they are brought to one grid."""

    motion_between_series: MotionBetweenSeries | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DistortionRecord(RegistrationRecord):
    """How a pair of opposite phase encoding was registered and its distortion undone, inside the brain."""

    correlation_before: float | None = None
    """Of the two b0s, where the headers put them."""
    correlation_aligned: float | None = None
    """With head motion undone, but not the distortion."""
    correlation_after: float | None = None
    displacement_mm: FieldDisplacement | None = None
    folded_fraction: float | None = None
    """Part of the brain where several places lie on top of each other."""
    polarity_margin: float | None = field(default=None, metadata=NULL)
    """By how much the one polarity explains the images better than the other; None where sidecars tell it."""
