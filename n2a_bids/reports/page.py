"""What the page of a participant says about one unit: verdict, cards, tables, figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from n2a_bids.figures.charts import candidate_name
from n2a_bids.reports.method_words import strategy_words
from n2a_bids.reports.numbers import duration, listing, number
from n2a_bids.reports.placement import link
from n2a_bids.reports.records import Measure, UnitRecord, measures

_CHARTS = {"loss", "risk", "gradients", "motion", "volumes"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome in two sentences."""

    tone: Literal["good", "warn", "bad"]
    head: str
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """One number of the summary."""

    title: str
    value: str
    remark: str = ""


def unit_page(unit: UnitRecord, folder: Path) -> dict[str, Any]:
    """Everything the template shows of a unit.

    Parameters
    ----------
    unit : UnitRecord
        Its records and figures.
    folder : path
        Folder of the page: links are relative to it.
    """
    return {
        "label": unit.label,
        "anchor": unit.label,
        "suffix": unit.suffix,
        "warnings": unit.warnings,
        "verdict": verdict(unit),
        "nature": _nature(unit),
        "cards": cards(unit) if unit.denoising else [],
        "reference": _reference_sentence(unit.alignment),
        "distortion": _distortion_sentence(unit.distortion),
        "repetitions": [_repetition_row(row) for row in unit.alignment.get("repetitions") or []],
        "sections": sections(unit, folder),
        "table": table(unit),
        "files": [link(path, folder) for path in unit.files],
    }


def verdict(unit: UnitRecord) -> Verdict:
    """What was chosen, and whether it is better than the mean."""
    record = unit.denoising
    if not record:
        return Verdict(
            "bad", "Denoising did not finish.", "There is no denoised image of this group; see the errors."
        )
    chosen = record.get("chosen") or {}
    if record.get("strategy") == "mean":
        return Verdict("good", "Averaged, as asked.", "The output is the plain mean: nothing else was tried.")
    if chosen.get("mean_won"):
        return Verdict(
            "warn",
            "The plain mean won.",
            "No candidate was clearly better on data it had not seen, so the output is the average of the "
            "aligned repetitions: no worse than averaging, and no better." + _of_echoes(chosen),
        )
    words = str(chosen.get("description") or strategy_words(str(chosen.get("name") or "unknown"))).rstrip(".")
    text = f"{words[:1].upper()}{words[1:]}."
    averages = unit.measure("denoising.equivalent_averages")
    if averages:
        text += f" Its estimated squared error is that of an average of {number(averages)} repetitions."
    return Verdict("good", "Denoised.", text)


def _of_echoes(chosen: Mapping[str, Any]) -> str:
    """Each echo is an output, too."""
    return " Each echo is as it was measured." if chosen.get("name") == "echoes as measured" else ""


def _nature(unit: UnitRecord) -> str:
    """Which images went in."""
    rows = unit.accepted_repetitions or unit.denoising.get("repetitions") or []
    names = [Path(str(row["file"])).name.split(".")[0] for row in rows if row.get("file")]
    if not names:
        return ""
    kind = "T1-weighted images" if unit.suffix == "T1w" else "diffusion series"
    number_of = f"{len(names)} {kind}" if len(names) > 1 else f"one of the {kind}"
    return f"Made from {number_of}: {listing(names)}."


def cards(unit: UnitRecord) -> list[Card]:
    """The numbers that a reader wants first."""
    record, derived = unit.denoising, unit.derived
    left_out = derived["n_left_out"]
    found = [
        Card(
            "Repetitions used",
            number(unit.measure("denoising.n_repetitions")),
            f"{left_out} left out" if left_out else f"{unit.suffix} images",
        ),
        Card("Output", _output_name(record), _settings(record)),
    ]
    found += _quality(unit)
    if derived["max_rotation_deg"] is not None:
        moved = (
            f"{derived['max_rotation_deg']:.1f}\N{DEGREE SIGN}, {derived['max_translation_mm'] or 0:.1f} mm"
        )
        found.append(Card("Largest movement", moved, "between repetitions, undone"))
    seconds = unit.measure("denoising.seconds.total")
    if seconds is not None:
        found.append(Card("Time to denoise", duration(seconds), _machine(record)))
    return found


def _quality(unit: UnitRecord) -> list[Card]:
    """Error and sharpness, against the mean."""
    record, derived = unit.denoising, unit.derived
    found = []
    if derived["error_ratio"]:
        before, after = record["noise_sd_mean"], record["error_denoised"]
        percent = round(100 * (derived["error_ratio"] - 1))
        change = f"RMSE, mean to denoised, {percent:+d} %" if percent else "RMSE, as in the mean"
        change = change.replace("-", "\N{MINUS SIGN}")
        found.append(
            Card("Estimated error", f"{number(before)} \N{RIGHTWARDS ARROW} {number(after)}", change)
        )
    averages = unit.measure("denoising.equivalent_averages")
    if averages:
        found.append(Card("Equivalent averages", number(averages), "of the same squared error"))
    if derived["sharpness_ratio"]:
        found.append(
            Card("Sharpness kept", f"{derived['sharpness_ratio']:.2f}", "of the mean's; 1 is no blur")
        )
    return found


def _output_name(record: Mapping[str, Any]) -> str:
    """Name of what was delivered."""
    chosen = record.get("chosen") or {}
    if chosen.get("mean_won"):
        return "plain mean"
    return candidate_name(str(chosen.get("name") or record.get("strategy") or "unknown"))


def _settings(record: Mapping[str, Any]) -> str:
    """Strategy and recipe."""
    parts = [f"strategy {record['strategy']}"] if record.get("strategy") else []
    return ", ".join(parts + ([f"recipe {record['recipe']}"] if record.get("recipe") else []))


def _machine(record: Mapping[str, Any]) -> str:
    """Device and memory."""
    parts = [str(record.get("device_name") or record.get("device") or "")]
    memory = record.get("peak_memory_mb")
    if isinstance(memory, int | float):
        parts.append(f"peak {memory / 1000:.1f} GB")
    return ", ".join(part for part in parts if part)


def table(unit: UnitRecord) -> list[dict[str, str]]:
    """Rows of the table of figures; measures that were not taken are left out."""
    rows = []
    for measure in measures():
        value = unit.measure(measure.path)
        if value is not None and unit.denoising:
            rows.append({"title": measure.title, "value": _with_units(value, measure), "read": measure.read})
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


def _reference_sentence(alignment: Mapping[str, Any]) -> str:
    """Which repetition the others were aligned to, and why."""
    if not alignment.get("reference"):
        return ""
    because = f": {alignment['reference_reason']}" if alignment.get("reference_reason") else ""
    return f"The reference is {Path(str(alignment['reference'])).name}{because}."


def _distortion_sentence(distortion: Mapping[str, Any]) -> str:
    """How far tissue was moved, and what that did to the b0s."""
    moved = distortion.get("displacement_mm") or {}
    if not moved:
        return ""
    return (
        f"Tissue was moved by {number(moved.get('median'))} mm in the median of the brain, by less than "
        f"{number(moved.get('percentile_95'))} mm in 95 % of it and by {number(moved.get('largest'))} mm at "
        f"most. The correlation of the two b0s went from {number(distortion.get('correlation_before'))} to "
        f"{number(distortion.get('correlation_after'))}."
    )


def _repetition_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """One repetition in the table of the alignment."""

    def cell(key: str, form: str, unit: str = "") -> str:
        value = row.get(key)
        return f"{value:{form}}{unit}" if isinstance(value, int | float) else "\N{EN DASH}"

    return {
        "name": Path(str(row.get("file", ""))).name,
        "accepted": row.get("accepted", True),
        "rotation": cell("rotation_deg", ".2f", "\N{DEGREE SIGN}"),
        "translation": cell("translation_mm", ".2f", " mm"),
        "before": cell("correlation_before", ".3f"),
        "after": cell("correlation_after", ".3f"),
        "overlap": cell("overlap", ".1%"),
        "reason": row.get("reason") or "",
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
        told = {"Alignment": unit.alignment.get("repetitions"), "Distortion": unit.distortion}
        if shown or told.get(section["title"]):
            anchor = f"{unit.label}-{section['title'].lower().replace(' ', '-')}"
            found.append({"title": section["title"], "anchor": anchor, "figures": shown})
    return found


def _figure(path: Path, unit: UnitRecord, specification: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """One figure, drawn into the page: no script and no second file is needed to flicker it."""
    svg = path.read_text(encoding="utf-8")
    own = dict(unit.entities)
    pairs = [
        part for part in path.stem.split("_") if "-" in part and part.split("-")[0] not in (*own, "desc")
    ]
    label = " ".join(pairs) or "the repetition"
    pretrained = unit.denoising.get("weights") and specification.get("caption_pretrained")
    return {
        "title": specification["title"].format(label=label),
        "caption": (pretrained or specification["caption"]).format(label=label),
        "svg": svg[svg.index("<svg") :],
        "href": link(path, folder),
        "anchor": path.stem,
        "is_chart": specification["desc"] in _CHARTS,
    }
