"""What the pages are made from: the JSON records and figures of each denoised unit."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from n2a_bids.record import DenoisingRecord
from n2a_bids.reports.currency import REPETITION_ENTITIES, is_left_over, read_runs, why_outdated
from n2a_bids.reports.json_files import read_denoising, read_json

_FREE_ENTITIES = {*REPETITION_ENTITIES, "from", "to", "mode", "space", "res", "model", "param"}
_Key = tuple[str, tuple[tuple[str, str], ...]]
_RECORD = re.compile(r"_desc-(denoised|alignment|distortion)_figures\.json$")
_FIELD_OF = {"denoised": "denoising", "alignment": "alignment", "distortion": "distortion"}


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """Everything known about one group of repetitions that was denoised together."""

    participant: str
    """Label without ``sub-``."""
    datatype: str
    """``anat`` or ``dwi``."""
    entities: tuple[tuple[str, str], ...]
    """Entities of the group in the order of its file names."""
    denoising: DenoisingRecord | None = None
    """What the denoising command told; None where it failed."""
    alignment: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the alignment; empty where it failed."""
    distortion: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the distortion correction; empty where there was none."""
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
        """``T1w`` or ``dwi``."""
        return "dwi" if self.datatype == "dwi" else "T1w"

    @property
    def session(self) -> str:
        """Label without ``ses-``, empty where the unit is in no session."""
        return dict(self.entities).get("ses", "")

    @property
    def label(self) -> str:
        """For example ``sub-01_ses-a_T1w``."""
        return "_".join([*(f"{key}-{value}" for key, value in self.entities), self.suffix])

    @property
    def accepted_repetitions(self) -> list[Mapping[str, Any]]:
        """Rows of the alignment record whose repetitions were used."""
        rows = self.alignment.get("repetitions") or []
        return [row for row in rows if isinstance(row, Mapping) and row.get("accepted", True)]

    @property
    def derived(self) -> dict[str, Any]:
        """Numbers that follow from the records."""
        repetitions = self.alignment.get("repetitions") or []
        used = self.accepted_repetitions
        return {
            "max_rotation_deg": _extreme(max, used, "rotation_deg"),
            "max_translation_mm": _extreme(max, used, "translation_mm"),
            "min_correlation_after": _extreme(min, used, "correlation_after"),
            "mean_framewise_displacement_mm": _extreme(_mean, used, "mean_framewise_displacement_mm"),
            "max_framewise_displacement_mm": _extreme(max, used, "max_framewise_displacement_mm"),
            "n_left_out": len(repetitions) - len(used) if repetitions else None,
            "n_warnings": len(self.warnings),
            "error_ratio": self._ratio("error_denoised", "noise_sd_mean"),
            "sharpness_ratio": self._ratio("sharpness_denoised", "sharpness_mean"),
        }

    def _ratio(self, over: str, under: str) -> float | None:
        """One figure of the denoising over another."""
        above, below = (_look_up(self.denoising, key) for key in (over, under))
        return above / below if above and below else None

    @property
    def warnings(self) -> list[str]:
        """Sentences that belong on top of the page."""
        texts = [self.outdated] if self.outdated else []
        texts += self.denoising.warnings if self.denoising else ()
        texts += [str(text) for text in self.alignment.get("warnings") or []]
        for row in self.alignment.get("repetitions") or []:
            if not row.get("accepted", True):
                name = Path(str(row.get("file", ""))).name
                texts.append(f"{name} was left out: {row.get('reason') or 'no reason given'}")
        if self.left_over:
            names = ", ".join(path.name for path in self.left_over)
            texts.append(f"of an earlier run, with repetitions that are not used any more, are: {names}")
        return texts

    def measure(self, path: str) -> float | None:
        """The number at a dotted path of :func:`measures`, ``None`` where there is none."""
        return _look_up(self._content(), path)

    def _content(self) -> dict[str, Any]:
        """What the paths of measures start from."""
        return {"denoising": self.denoising, "derived": self.derived, "distortion": self.distortion}

    def measured(self) -> tuple[float | None, ...]:
        """All numbers, in the order of :func:`measures`."""
        content = self._content()
        return tuple(_look_up(content, measure.path) for measure in measures())


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that is reported for every unit."""

    name: str
    """Column of the group table."""
    path: str
    title: str
    units: str
    read: str
    """One sentence: how to read it."""
    outliers: bool = True
    """Whether unusual values are pointed out in the group page."""
    of_repetitions: bool = False
    """Says nothing of a single series."""
    title_single: str = ""
    """Title where there is a single series, which has no mean."""
    read_single: str = ""
    scale: str = "linear"
    """``log`` for positive numbers that vary by factors."""


@cache
def measures() -> tuple[Measure, ...]:
    """All measures, in the order of the tables."""
    text = resources.files("n2a_bids").joinpath("data", "measures.yml").read_text(encoding="utf-8")
    return tuple(Measure(**entry) for entry in yaml.safe_load(text))


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
    records = _read_records(root)
    figures = sorted((root / "figures").glob("*.svg"))
    for path in figures:
        key = _owner(path, list(records)) or _key_of_figure(path)
        record = records.setdefault(key, {})
        kind = "left_over" if is_left_over(path, record.get("alignment", {})) else "figures"
        record.setdefault(kind, []).append(path)
    for folder in _datatype_folders(root):
        for path in sorted(folder.iterdir()):
            key = _owner(path, list(records), datatype=folder.name)
            if key is not None and not path.name.startswith("."):
                kind = "left_over" if is_left_over(path, records[key].get("alignment", {})) else "files"
                records[key].setdefault(kind, []).append(path)
    return _as_units(root, records)


def find_records(output_dir: Path, participant: str) -> list[UnitRecord]:
    """The units of one participant without their figures and files: only what the group table needs.

    Raises
    ------
    BIDSDataError
        If a record is not readable JSON.
    """
    root = output_dir / f"sub-{participant}"
    return _as_units(root, _read_records(root))


def _read_records(root: Path) -> dict[_Key, dict[str, Any]]:
    """The JSON records below the folder of a participant, by unit."""
    records: dict[_Key, dict[str, Any]] = {}
    for folder in _datatype_folders(root):
        for path in sorted(folder.glob("*_figures.json")):
            match = _RECORD.search(path.name)
            if match:
                key = (folder.name, _entities(path.name[: match.start()]))
                records.setdefault(key, {})[_FIELD_OF[match[1]]] = _READ[match[1]](path)
    return records


_READ = {"denoised": read_denoising, "alignment": read_json, "distortion": read_json}


def _as_units(root: Path, records: Mapping[_Key, Mapping[str, Any]]) -> list[UnitRecord]:
    """Units in the order of the page."""
    units = [
        UnitRecord(
            root.name.removeprefix("sub-"),
            datatype,
            entities,
            record.get("denoising"),
            record.get("alignment", {}),
            record.get("distortion", {}),
            tuple(record.get("figures", ())),
            tuple(record.get("files", ())),
            tuple(record.get("left_over", ())),
        )
        for (datatype, entities), record in sorted(records.items())
    ]
    runs = read_runs(root)
    return [replace(unit, outdated=why_outdated(unit.label, unit.denoising, runs)) for unit in units]


def _datatype_folders(root: Path) -> Iterator[Path]:
    """``anat`` and ``dwi``, of the participant and of its sessions."""
    for parent in [root, *sorted(root.glob("ses-*"))]:
        for datatype in ("anat", "dwi"):
            if (parent / datatype).is_dir():
                yield parent / datatype


def _entities(stem: str) -> tuple[tuple[str, str], ...]:
    """Entities of a file name, less ``desc`` and what has no dash.

    Examples
    --------
    >>> _entities("sub-01_run-2_desc-denoised_T1w")
    (('sub', '01'), ('run', '2'))
    """
    pairs = (part.split("-", 1) for part in stem.split("_") if "-" in part)
    return tuple((key, value) for key, value in pairs if key != "desc")


def _key_of_figure(path: Path) -> _Key:
    """Unit of a figure that no record owns."""
    datatype = "dwi" if path.stem.endswith("_dwi") else "anat"
    entities = tuple(pair for pair in _entities(path.stem) if pair[0] not in REPETITION_ENTITIES)
    return datatype, entities


def _owner(path: Path, keys: list[_Key], datatype: str | None = None) -> _Key | None:
    """The unit a file belongs to: it has all entities of the unit, and adds none that names another unit."""
    found = set(_entities(path.name.split(".")[0]))
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


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _extreme(choose: Any, rows: list[Mapping[str, Any]], key: str) -> float | None:
    """Largest, smallest or mean value of a column, ``None`` without any."""
    values = [row[key] for row in rows if _is_number(row.get(key))]
    return choose(values) if values else None
