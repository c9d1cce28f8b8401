"""What the page of a participant says about one unit: summary, tables, figures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from n2a_bids.alignment_record import AlignedRepetition, AlignmentRecord, DistortionRecord
from n2a_bids.reports.measures import Measure, measures
from n2a_bids.reports.numbers import number
from n2a_bids.reports.placement import link
from n2a_bids.reports.records import UnitRecord
from n2a_bids.reports.summary import cards, is_single, nature, verdict

_CHARTS = {"loss", "risk", "gradients", "motion", "volumes"}


def unit_page(unit: UnitRecord, folder: Path) -> dict[str, Any]:
    """Everything the template shows of a unit.

    Parameters
    ----------
    unit : UnitRecord
        Its records and figures.
    folder : path
        Folder of the page: links are relative to it.
    """
    rows = unit.alignment.repetitions
    return {
        "label": unit.label,
        "anchor": unit.label,
        "suffix": unit.suffix,
        "warnings": unit.warnings,
        "verdict": verdict(unit),
        "nature": nature(unit),
        "cards": cards(unit) if unit.denoising else [],
        "reference": _reference_sentence(unit.alignment) if len(rows) > 1 else "",
        "distortion": _distortion_sentence(unit.distortion),
        "repetitions": [_repetition_row(row) for row in rows] if len(rows) > 1 else [],
        "sections": sections(unit, folder),
        "table": table(unit),
        "files": [link(path, folder) for path in unit.files],
    }


def table(unit: UnitRecord) -> list[dict[str, str]]:
    """Rows of the table of metrics; left out is what was not measured or means nothing here."""
    rows, single = [], is_single(unit)
    for measure in measures():
        value = unit.measure(measure.path)
        if value is not None and unit.denoising and not (single and measure.of_repetitions):
            title = (single and measure.title_single) or measure.title
            read = (single and measure.read_single) or measure.read
            rows.append({"title": title, "value": _with_units(value, measure), "read": read})
    return rows


def _with_units(value: float, measure: Measure) -> str:
    """Number and unit, where the unit says something."""
    units = {
        "degrees": "\N{DEGREE SIGN}",
        "mm": " mm",
        "s": " s",
        "MB": " MB",
        "ratio": " \N{MULTIPLICATION SIGN}",
    }
    return number(value) + units.get(measure.units, "")


def _reference_sentence(alignment: AlignmentRecord) -> str:
    """Which repetition the others were aligned to, and why."""
    if not alignment.reference:
        return ""
    because = f": {alignment.reference_reason}" if alignment.reference_reason else ""
    return f"The reference is {Path(alignment.reference).name}{because}."


def _distortion_sentence(distortion: DistortionRecord | None) -> str:
    """How far tissue was moved, and what that did to the b0s."""
    if distortion is None or distortion.displacement_mm is None:
        return ""
    moved = distortion.displacement_mm
    return (
        f"Tissue was moved by {number(moved.median)} mm in the median of the brain, by less than "
        f"{number(moved.percentile_95)} mm in 95 % of it and by {number(moved.largest)} mm at "
        f"most. The correlation of the two b0s went from {number(distortion.correlation_before)} to "
        f"{number(distortion.correlation_after)}."
    )


def _repetition_row(row: AlignedRepetition) -> dict[str, str | bool]:
    """One repetition in the table of the alignment."""

    def cell(value: float | None, form: str, unit: str = "") -> str:
        return "\N{EN DASH}" if value is None else f"{value:{form}}{unit}"

    return {
        "name": Path(row.file).name,
        "accepted": row.accepted,
        "rotation": cell(row.rotation_deg, ".2f", "\N{DEGREE SIGN}"),
        "translation": cell(row.translation_mm, ".2f", " mm"),
        "before": cell(row.correlation_before, ".3f"),
        "after": cell(row.correlation_after, ".3f"),
        "overlap": cell(row.overlap, ".1%"),
        "reason": row.reason,
    }


@cache
def _specification() -> list[dict[str, Any]]:
    """Order, titles and captions of the figures."""
    return yaml.safe_load(
        resources.files("n2a_bids").joinpath("data", "reports-spec.yml").read_text(encoding="utf-8")
    )


def sections(unit: UnitRecord, folder: Path) -> list[dict[str, Any]]:
    """Figures of a unit in the order of ``data/reports-spec.yml``; empty sections are left out."""
    found = []
    for section in _specification():
        shown = [
            _figure(path, unit, figure, folder)
            for figure in section["figures"]
            for path in unit.figures
            if f"_desc-{figure['desc']}_" in path.name
        ]
        several = len(unit.alignment.repetitions) > 1
        told = {"Alignment": several, "Distortion": unit.distortion}
        if shown or told.get(section["title"]):
            anchor = f"{unit.label}-{section['title'].lower().replace(' ', '-')}"
            found.append({"title": section["title"], "anchor": anchor, "figures": shown})
    return found


def _variants(unit: UnitRecord) -> list[str]:
    """Which captions fit a unit, the best first; any other has the general one."""
    found = {
        "pretrained": bool(unit.denoising and unit.denoising.weights),
        "echoes": bool(unit.denoising) and not unit.denoising.one_contrast,
        "single": is_single(unit),
        "dwi": unit.suffix == "dwi",
    }
    return [name for name, fits in found.items() if fits]


def _figure(path: Path, unit: UnitRecord, specification: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """One figure, drawn into the page: no script and no second file is needed to flicker it."""
    svg = path.read_text(encoding="utf-8")
    own = dict(unit.entities)
    pairs = [
        part for part in path.stem.split("_") if "-" in part and part.split("-")[0] not in (*own, "desc")
    ]
    label = " ".join(pairs) or "the repetition"
    captions = (specification.get(f"caption_{variant}") for variant in _variants(unit))
    caption = next(filter(None, captions), specification["caption"])
    return {
        "title": specification["title"].format(label=label),
        "caption": caption.format(label=label),
        "svg": svg[svg.index("<svg") :],
        "href": link(path, folder),
        "anchor": path.stem,
        "is_chart": specification["desc"] in _CHARTS,
    }
