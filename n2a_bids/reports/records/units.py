"""Finds the JSON records, figures and derivatives of each unit that a participant has in the output."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from n2a_bids.contrasts import datatype_of
from n2a_bids.dataset.names import unit_entities
from n2a_bids.io.json import read_typed
from n2a_bids.record.alignment import AlignmentRecord, DistortionRecord
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.record.regions import RegionsRecord
from n2a_bids.reports.records.staleness import REPETITION_ENTITIES, is_left_over, read_runs, why_outdated
from n2a_bids.reports.records.unit_record import UnitRecord

_PARTING = {*REPETITION_ENTITIES, "part"}
"""Entities that units do not differ in: repetitions do, or the files of one complex image."""
_FREE_ENTITIES = {*_PARTING, "from", "to", "mode", "space", "res", "model", "param"}
_Key = tuple[str, tuple[tuple[str, str], ...]]
_RECORD = re.compile(r"_desc-(denoised|alignment|distortion|regions)_figures\.json$")


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
