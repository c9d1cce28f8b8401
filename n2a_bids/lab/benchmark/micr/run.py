"""Runs the micrograph benchmark: every method on every cell, one row each, and a summary."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from n2a_bids.algorithms.micrographs.ring_correlation import fourier_ring_correlation
from n2a_bids.errors import ConfigError, DenoisingError
from n2a_bids.io.files import write_whole
from n2a_bids.lab.benchmark.config import BenchmarkConfig
from n2a_bids.lab.benchmark.micr.cells import (
    MicrographCell,
    MicrographData,
    MicrographTruth,
    load_micrograph_truth,
    make_micrograph_data,
    plan_micrograph_cells,
)
from n2a_bids.lab.benchmark.micr.methods import (
    CLASSICAL,
    available_micrograph_methods,
    check_micrograph_method,
    run_micrograph_method,
)
from n2a_bids.lab.benchmark.pictures import draw_slices
from n2a_bids.lab.benchmark.strategies import MethodSettings
from n2a_bids.lab.benchmark.table import Row, RowTable, cell_key, keep_settings
from n2a_bids.lab.benchmark.worker import Outcome, run_in_child
from n2a_bids.record.typed_json import JsonObject

_KEY = ("truth", "dose", "n_repetitions", "seed", "method")
_MEASURES = (
    "psnr_db",
    "pixels_against_truth",
    "pixels_halves_before",
    "pixels_halves_after",
    "drift_error_pixels",
    "seconds",
    "peak_memory_mb",
)
_COLUMNS = (*_KEY, *_MEASURES, "chosen", "status")
_DEFAULT = ("mean", "nlm", "tv", "bm3d", "noise2noise", "auto")


@dataclass(frozen=True, slots=True)
class _Plan:
    out_dir: Path
    methods: tuple[str, ...]
    largest_drift: float
    settings: MethodSettings


def run_micrographs(config: BenchmarkConfig) -> int:
    """Run every method in every cell that is not in the table yet.

    Returns
    -------
    exit_code : int
        0, or 1 if a method failed somewhere; the others' results stand.

    Raises
    ------
    ConfigError
        If there is no truth, a method is unknown, or the folder holds results and nobody asked to resume.
    BIDSDataError
        If a truth cannot be used.
    """
    if not config.truth:
        raise ConfigError("--modality micr: expected clean images by --truth (PNG or TIFF), found none")
    known = available_micrograph_methods()
    methods = config.strategies or tuple(name for name in _DEFAULT if name in known)
    for name in methods:
        check_micrograph_method(name)
    truths = {one.name: one for one in (load_micrograph_truth(path, config.crop) for path in config.truth)}
    path = config.out / "micrographs.tsv"
    keep_settings(path, {"crop": config.crop, "drift": config.micr.drift}, resume=config.resume)
    table = RowTable(path, _COLUMNS, _KEY)
    plan = _Plan(config.out, tuple(dict.fromkeys(methods)), config.micr.drift, MethodSettings.of(config))
    repetitions = config.repetitions or (2, 4)
    for cell in plan_micrograph_cells(tuple(truths), config.micr.doses, repetitions, config.seeds or 1):
        _run_cell(cell, truths[cell.truth], plan, table)
        write_whole(config.out / "summary.md", summarise_micrographs(table.rows))
    return int(any(row["status"] != "ok" for row in table.rows))


def _run_cell(cell: MicrographCell, truth: MicrographTruth, plan: _Plan, table: RowTable) -> None:
    missing = [name for name in plan.methods if not table.has(cell_key(cell, name))]
    if not missing:
        return
    sys.stderr.write(f"{cell}\n")
    data = make_micrograph_data(cell, truth, plan.largest_drift)
    pictures = {"truth": data.truth, "mean": data.repetitions.data.mean(axis=0)[..., 0, 0]}
    for name in missing:
        try:
            outcome = run_in_child(partial(run_micrograph_method, name, data, plan.settings))
            values = measure_micrograph(data, outcome)
            pictures[name] = outcome.image

        except DenoisingError as error:
            values = {"status": f"failed: {error}"}
        table.add(cell_key(cell, name) | values)
        sys.stderr.write(f"  {name}: {values.get('psnr_db', values['status'])}\n")
    if cell.seed == 0:
        label = f"{cell.truth}_dose{cell.dose:g}_R{cell.n_repetitions}"
        title = f"{cell.truth}, {cell.dose:g} counts, {cell.n_repetitions} exposures"
        shown = {name: image[:256, :256] for name, image in pictures.items()}
        draw_slices(shown, title, plan.out_dir / "pictures" / f"{label}.png")


def measure_micrograph(data: MicrographData, outcome: Outcome) -> JsonObject:
    """Score one result against the truth, where all exposures were measured."""
    mask = data.repetitions.mask[..., 0]
    error = np.mean((outcome.image - data.truth)[mask].astype(np.float64) ** 2)
    extent = float(np.ptp(data.truth[mask]))
    rings = outcome.metrics.get("ring_correlation") or {}
    against = fourier_ring_correlation(
        np.where(mask, outcome.image, data.truth.mean()), np.where(mask, data.truth, data.truth.mean())
    )
    return {
        "psnr_db": round(10 * np.log10(extent**2 / error), 3),
        "pixels_against_truth": against.resolution_seventh or "",
        "pixels_halves_before": rings.get("pixels_before") or "",
        "pixels_halves_after": rings.get("pixels_after") or "",
        "drift_error_pixels": data.drift_error_pixels,
        "seconds": outcome.seconds,
        "peak_memory_mb": outcome.peak_memory_mb,
        "chosen": (outcome.metrics.get("chosen") or {}).get("name", ""),
        "status": "ok",
    }


def summarise_micrographs(rows: Sequence[Row]) -> str:
    """Table of mean PSNR of each dose and number of exposures, and how far ``auto`` is from the others."""
    done = [row for row in rows if row["status"] == "ok"]
    methods = list(dict.fromkeys(row["method"] for row in done))
    judged = next((name for name in methods if name.startswith("auto")), "")
    lines = [
        "| counts | exposures | draws | " + " | ".join(methods) + f" | {judged} over the best classical |",
        "|" + "---|" * (len(methods) + 4),
    ]
    groups = sorted({(float(row["dose"]), int(row["n_repetitions"])) for row in done})
    for dose, n_repetitions in groups:
        members = [
            row for row in done if (float(row["dose"]), int(row["n_repetitions"])) == (dose, n_repetitions)
        ]
        values = {
            name: np.mean([float(row["psnr_db"]) for row in members if row["method"] == name] or [np.nan])
            for name in methods
        }
        classical = [values[name] for name in methods if name in CLASSICAL]
        over = f"{values[judged] - max(classical):+.2f}" if judged and classical else ""
        n_draws = len({(row["truth"], row["seed"]) for row in members})
        cells = " | ".join(f"{values[name]:.2f}" for name in methods)
        lines.append(f"| {dose:g} | {n_repetitions} | {n_draws} | {cells} | {over} |")
    return "\n".join(lines) + "\n"
