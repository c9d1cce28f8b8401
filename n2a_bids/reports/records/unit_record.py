"""`UnitRecord`: all that is known of one denoised unit, with its warnings and derived numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from n2a_bids.contrasts import ANAT_SUFFIXES
from n2a_bids.record.alignment import AlignmentRecord, DistortionRecord
from n2a_bids.record.candidate_names import MEANS, candidate_name
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.regions import RegionsRecord
from n2a_bids.reports.records.measures import measures


@dataclass(frozen=True, slots=True)
class DerivedNumbers:
    """Numbers that follow from the records of a unit; None where they cannot."""

    max_rotation_deg: float | None
    """Over the repetitions that were used, as all of these about alignment and motion."""
    max_translation_mm: float | None
    max_drift_pixels: float | None
    """Of exposures of a microscope, from the first; of a movie, of its frames from the first."""
    min_correlation_after: float | None
    mean_framewise_displacement_mm: float | None
    max_framewise_displacement_mm: float | None
    eddy_currents_mm: float | None
    n_left_out: int | None
    n_warnings: int
    error_ratio: float | None
    """Estimated error of the denoised image over the noise SD of the plain mean."""
    sharpness_ratio: float | None
    """Of the denoised image, over that of the mean."""


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """Everything known about one group of repetitions that was denoised together."""

    participant: str
    """Label without ``sub-``."""
    datatype: str
    """``anat``, ``dwi`` or ``micr``."""
    entities: tuple[tuple[str, str], ...]
    """Entities of the group in the order of its file names; last ``mod``, where the images are not T1w."""
    denoising: DenoisingRecord | None = None
    """What the denoising command told; None where it failed."""
    alignment: AlignmentRecord = field(default_factory=AlignmentRecord)
    """How the repetitions were aligned; empty where that failed."""
    distortion: DistortionRecord | None = None
    """How distortion was corrected; None where it was not."""
    regions: RegionsRecord | None = None
    """Noise and gain in the regions of an atlas; None where none was asked for."""
    figures: tuple[Path, ...] = ()
    """SVG files of this unit."""
    files: tuple[Path, ...] = ()
    """Derivatives of this unit."""
    left_over: tuple[Path, ...] = ()
    """Figures and derivatives of repetitions that are no longer used."""
    outdated: str = ""
    """Why a later run makes this result one of the past; empty if it is the last word."""

    @property
    def suffix(self) -> str:
        """``dwi``, ``T1w`` or another one of `n2a_bids.contrasts`."""
        return "dwi" if self.datatype == "dwi" else dict(self.entities).get("mod", ANAT_SUFFIXES[0])

    @property
    def session(self) -> str:
        """Label without ``ses-``, empty where the unit is in no session."""
        return dict(self.entities).get("ses", "")

    @property
    def is_single(self) -> bool:
        """Whether there was one image only, which is its own mean."""
        return self.denoising is not None and self.denoising.n_repetitions == 1

    @property
    def image_noun(self) -> str:
        """What one of its images is called."""
        return "series" if self.datatype == "dwi" else "image"

    @property
    def mean_name(self) -> str:
        """The mean of the repetitions that candidates were compared with: plain, or weighted by noise."""
        names = [row.name for row in (self.denoising and self.denoising.candidates) or ()]
        return candidate_name(next((name for name in names if name in MEANS), MEANS[0]))

    @property
    def label(self) -> str:
        """For example ``sub-01_ses-a_T1w``."""
        own = (f"{key}-{value}" for key, value in self.entities if key != "mod")
        return "_".join([*own, self.suffix])

    @property
    def derived(self) -> DerivedNumbers:
        """Numbers that follow from the records."""
        rows, used = self.alignment.repetitions, self.alignment.used
        record = self.denoising or DenoisingRecord()
        return DerivedNumbers(
            max_rotation_deg=_over(max, (row.rotation_deg for row in used)),
            max_translation_mm=_over(max, (row.translation_mm for row in used)),
            max_drift_pixels=_over(max, self.alignment.drifts_pixels),
            min_correlation_after=_over(min, (row.correlation_after for row in used)),
            mean_framewise_displacement_mm=_over(fmean, (row.mean_framewise_displacement_mm for row in used)),
            max_framewise_displacement_mm=_over(max, (row.max_framewise_displacement_mm for row in used)),
            eddy_currents_mm=_over(max, (row.eddy_currents_mm for row in used)),
            n_left_out=len(rows) - len(used) if rows else None,
            n_warnings=len(self.warnings),
            error_ratio=_ratio(record.error_denoised, record.noise_sd_mean),
            sharpness_ratio=_ratio(record.sharpness_denoised, record.sharpness_mean),
        )

    @property
    def warnings(self) -> list[str]:
        """Sentences that belong on top of the page."""
        texts = [self.outdated] if self.outdated else []
        texts += self.denoising.warnings if self.denoising else ()
        texts += self.alignment.warnings
        texts += self.regions.warnings if self.regions else ()
        texts += [
            f"{Path(row.file).name} was left out: {row.reason or 'no reason given'}"
            for row in self.alignment.repetitions
            if not row.accepted
        ]
        if self.left_over:
            names = ", ".join(path.name for path in self.left_over)
            texts.append(f"of an earlier run, with repetitions that are not used any more, are: {names}")
        return texts

    def measure(self, path: str) -> float | None:
        """The number at a dotted path of :func:`measures`, ``None`` where there is none."""
        return _look_up(self, path)

    def measured(self) -> tuple[float | None, ...]:
        """All numbers, in the order of :func:`measures`."""
        return tuple(_look_up(self, measure.path) for measure in measures())


def _look_up(content: object, path: str) -> float | None:
    """The number at a dotted path of fields and keys, ``None`` where there is none."""
    value = content
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else getattr(value, part, None)
    return float(value) if _is_number(value) else None


def _is_number(value: object) -> bool:
    """Finite numbers only, none beyond those of the processor; truth values are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over and under else None


def _over(combine: Callable[[list[float]], float], values: Iterable[float | None]) -> float | None:
    """Largest, smallest or mean of the values that are known, ``None`` without any."""
    known = [value for value in values if value is not None]
    return combine(known) if known else None
