"""Reads the JSON record and figures of each denoised unit, and gathers its warnings for the pages."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Literal

from n2a_bids.contrasts import ANAT_SUFFIXES, datatype_of
from n2a_bids.dataset.names import unit_entities
from n2a_bids.io.json import read_typed
from n2a_bids.record.alignment import AlignmentRecord, DistortionRecord
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.regions import RegionsRecord
from n2a_bids.reports.records.measures import measures
from n2a_bids.reports.records.staleness import REPETITION_ENTITIES, is_left_over, read_runs, why_outdated

_PARTING = {*REPETITION_ENTITIES, "part"}
"""Entities that units do not differ in: repetitions do, or the files of one complex image."""
_FREE_ENTITIES = {*_PARTING, "from", "to", "mode", "space", "res", "model", "param"}
_Key = tuple[str, tuple[tuple[str, str], ...]]
_RECORD = re.compile(r"_desc-(denoised|alignment|distortion|regions)_figures\.json$")


@dataclass(frozen=True, slots=True)
class DerivedNumbers:
    """Numbers that follow from the records of a unit; None where they cannot."""

    max_rotation_deg: float | None
    """Over the repetitions that were used, as all of these about alignment and motion."""
    max_translation_mm: float | None
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


def find_units(output_dir: Path, participant: str) -> list[UnitRecord]:
    """The units of one participant, from its derivatives.

    Parameters
    ----------
    output_dir : path
        Derivative dataset.
    participant : str
        Label without ``sub-``.

    Returns
    -------
    units : list of UnitRecord
        Sorted by datatype and entities; anatomy first. A unit that failed before its records were written
        is known from its figures alone.

    Raises
    ------
    BIDSDataError
        If a record is not readable JSON.
    """
    root = output_dir / f"sub-{participant}"
    found = _read_records(root)
    for path in sorted((root / "figures").glob("*.svg")):
        key = _owner(path, list(found)) or _key_of_figure(path)
        found.setdefault(key, _Found()).add(path, "figures")
    for folder in _datatype_folders(root):
        for path in sorted(folder.iterdir()):
            key = _owner(path, list(found), datatype=folder.name)
            if key is not None and not path.name.startswith("."):
                found[key].add(path, "files")
    return _as_units(root, found)


def find_records(output_dir: Path, participant: str) -> list[UnitRecord]:
    """The units of one participant without their figures and files: only what the group table needs.

    Raises
    ------
    BIDSDataError
        If a record is not readable JSON.
    """
    root = output_dir / f"sub-{participant}"
    return _as_units(root, _read_records(root))


@dataclass(slots=True)
class _Found:
    """What has been found of a unit so far."""

    denoising: DenoisingRecord | None = None
    alignment: AlignmentRecord = field(default_factory=AlignmentRecord)
    distortion: DistortionRecord | None = None
    regions: RegionsRecord | None = None
    figures: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    left_over: list[Path] = field(default_factory=list)

    def add(self, path: Path, kind: Literal["figures", "files"]) -> None:
        """Add a file of the unit, where its repetition is still used."""
        (self.left_over if is_left_over(path, self.alignment) else getattr(self, kind)).append(path)


_RECORDS = {
    "denoised": ("denoising", DenoisingRecord),
    "alignment": ("alignment", AlignmentRecord),
    "distortion": ("distortion", DistortionRecord),
    "regions": ("regions", RegionsRecord),
}
"""Label in the name of a file, the field of the unit that holds the record, and its kind."""


def _read_records(root: Path) -> dict[_Key, _Found]:
    """The JSON records below the folder of a participant, by unit."""
    found: dict[_Key, _Found] = {}
    for folder in _datatype_folders(root):
        for path in sorted(folder.glob("*_figures.json")):
            match = _RECORD.search(path.name)
            if match:
                field_name, kind = _RECORDS[match[1]]
                one = found.setdefault((folder.name, unit_entities(path)), _Found())
                setattr(one, field_name, read_typed(kind, path))
    return found


def _as_units(root: Path, found: Mapping[_Key, _Found]) -> list[UnitRecord]:
    """Units in the order of the page."""
    units = [
        UnitRecord(
            root.name.removeprefix("sub-"),
            datatype,
            entities,
            one.denoising,
            one.alignment,
            one.distortion,
            one.regions,
            tuple(one.figures),
            tuple(one.files),
            tuple(one.left_over),
        )
        for (datatype, entities), one in sorted(found.items(), key=lambda item: item[0])
    ]
    runs = read_runs(root)
    return [replace(unit, outdated=why_outdated(unit.label, unit.denoising, runs)) for unit in units]


def _datatype_folders(root: Path) -> Iterator[Path]:
    """``anat``, ``dwi`` and ``micr``, of the participant and of its sessions."""
    for parent in [root, *sorted(root.glob("ses-*"))]:
        for datatype in ("anat", "dwi", "micr"):
            if (parent / datatype).is_dir():
                yield parent / datatype


def _key_of_figure(path: Path) -> _Key:
    """Unit of a figure that no record owns."""
    datatype = datatype_of(path.stem.rpartition("_")[2])
    entities = tuple(pair for pair in unit_entities(path) if pair[0] not in _PARTING)
    return datatype, entities


def _owner(path: Path, keys: list[_Key], datatype: str | None = None) -> _Key | None:
    """The unit a file belongs to: it has all entities of the unit, and adds none that names another unit."""
    found = set(unit_entities(path))
    datatype = datatype or _key_of_figure(path)[0]
    owners = [
        key
        for key in keys
        if key[0] == datatype
        and set(key[1]) <= found
        and all(name in _FREE_ENTITIES for name, _ in found - set(key[1]))
    ]
    return max(owners, key=lambda key: len(key[1]), default=None)


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
