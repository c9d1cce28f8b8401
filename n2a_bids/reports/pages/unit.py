"""Section of a report page on one group: figures by ``reports-spec.yml``, drawn by ``participant.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from n2a_bids.packaged import packaged_yaml
from n2a_bids.record.alignment import AlignedRepetition, AlignmentRecord, DistortionRecord
from n2a_bids.reports.format import number
from n2a_bids.reports.pages.summary import Card, Verdict, cards, nature, noise_words, verdict
from n2a_bids.reports.records.measures import Measure, measures
from n2a_bids.reports.records.unit_record import UnitRecord

_CHARTS = {"loss", "risk", "gradients", "motion", "volumes", "drift", "rings", "regionalnoise"}


@dataclass(frozen=True, slots=True)
class FigureSpecification:
    """Title and captions of a kind of figure, as ``data/reports-spec.yml`` has them."""

    desc: str
    title: str
    """May use ``{label}``, the entities of the repetition; so may the captions."""
    caption: str
    caption_of: Mapping[str, str] = field(default_factory=dict)
    """Captions of special units, by the names of `_variants`."""

    def caption_for(self, variants: Sequence[str]) -> str:
        """The first caption there is of these variants, or the general one."""
        return next((self.caption_of[one] for one in variants if one in self.caption_of), self.caption)


@dataclass(frozen=True, slots=True)
class ShownFigure:
    """A figure as the page holds it."""

    title: str
    caption: str
    svg: str
    path: Path
    is_chart: bool


@dataclass(frozen=True, slots=True)
class Section:
    """Figures under one heading."""

    title: str
    anchor: str
    figures: tuple[ShownFigure, ...]


@dataclass(frozen=True, slots=True)
class MetricLine:
    """One number in the table of metrics, as text."""

    title: str
    value: str
    read: str


@dataclass(frozen=True, slots=True)
class UnitPage:
    """Everything that the template shows of a unit."""

    unit: UnitRecord
    verdict: Verdict
    nature: str
    noise: str
    """How its noise hangs together, in one sentence; empty where that is not known."""
    cards: Sequence[Card]
    reference: str
    distortion: str
    sections: Sequence[Section]
    table: Sequence[MetricLine]


def unit_page(unit: UnitRecord) -> UnitPage:
    """Everything the template shows of a unit."""
    return UnitPage(
        unit=unit,
        verdict=verdict(unit),
        nature=nature(unit),
        noise=noise_words(unit),
        cards=cards(unit) if unit.denoising else [],
        reference=_reference_sentence(unit.alignment) if len(unit.alignment.repetitions) > 1 else "",
        distortion=_distortion_sentence(unit.distortion),
        sections=sections(unit),
        table=table(unit),
    )


def table(unit: UnitRecord) -> list[MetricLine]:
    """Rows of the table of metrics; left out is what was not measured or means nothing here."""
    rows, single = [], unit.is_single
    for measure in measures():
        value = unit.measure(measure.path)
        if value is not None and unit.denoising and not (single and measure.of_repetitions):
            title = (single and measure.title_single) or measure.title
            read = (single and measure.read_single) or measure.read
            rows.append(MetricLine(title, _with_units(value, measure), read))
    return rows


def _with_units(value: float, measure: Measure) -> str:
    """Number and unit, where the unit says something."""
    units = {
        "degrees": "\N{DEGREE SIGN}",
        "mm": " mm",
        "1/mm": " per mm",
        "voxels": " voxels",
        "pixels": " pixels",
        "dB": " dB",
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


def cell(value: float | None, form: str, unit: str = "") -> str:
    """One number in the table of the alignment.

    Examples
    --------
    >>> cell(0.123, ".2f", " mm"), cell(None, ".2f")
    ('0.12 mm', '–')
    """
    return "\N{EN DASH}" if value is None else f"{value:{form}}{unit}"


def translation(row: AlignedRepetition) -> str:
    """How far a repetition was moved: of an exposure of a microscope the drift along columns and rows."""
    if row.drift_pixels:
        return f"{', '.join(f'{one:.2f}' for one in row.drift_pixels)} pixels"
    return cell(row.translation_mm, ".2f", " mm")


@cache
def _specification() -> Mapping[str, tuple[FigureSpecification, ...]]:
    """Titles of the sections in their order, with the kinds of figures of each."""
    return {
        section["title"]: tuple(FigureSpecification(**entry) for entry in section["figures"])
        for section in packaged_yaml("reports-spec.yml")
    }


def sections(unit: UnitRecord) -> list[Section]:
    """Figures of a unit in the order of ``data/reports-spec.yml``; empty sections are left out."""
    found = []
    told = {"Alignment": len(unit.alignment.repetitions) > 1, "Distortion": unit.distortion is not None}
    for title, kinds in _specification().items():
        shown = tuple(
            _figure(path, unit, kind)
            for kind in kinds
            for path in unit.figures
            if f"_desc-{kind.desc}_" in path.name
        )
        if shown or told.get(title):
            found.append(Section(title, f"{unit.label}-{title.lower().replace(' ', '-')}", shown))
    return found


def _variants(unit: UnitRecord) -> list[str]:
    """Which captions fit a unit, the best first; any other has the general one."""
    found = {
        "micr": unit.datatype == "micr",
        "pretrained": bool(unit.denoising and unit.denoising.weights),
        "echoes": bool(unit.denoising) and not unit.denoising.same_contrast,
        "single": unit.is_single,
        "dwi": unit.suffix == "dwi",
    }
    return [name for name, fits in found.items() if fits]


def _figure(path: Path, unit: UnitRecord, kind: FigureSpecification) -> ShownFigure:
    """One figure, drawn into the page: no script and no second file is needed to flicker it."""
    svg = path.read_text(encoding="utf-8")
    own = dict(unit.entities)
    pairs = [
        part for part in path.stem.split("_") if "-" in part and part.split("-")[0] not in (*own, "desc")
    ]
    label = " ".join(pairs) or "the repetition"
    return ShownFigure(
        title=kind.title.format(label=label),
        caption=kind.caption_for(_variants(unit)).format(label=label),
        svg=svg[svg.index("<svg") :],
        path=path,
        is_chart=kind.desc in _CHARTS,
    )
