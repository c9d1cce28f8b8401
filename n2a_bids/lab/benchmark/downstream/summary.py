"""Summary and picture of ``--downstream``: what a method is worth in plain averages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from n2a_bids.lab.benchmark.downstream.averages import Worth, equivalent_averages
from n2a_bids.lab.benchmark.pictures import save_picture, subplots

SUMMARY_COLUMNS = (
    *("condition", "noise_level", "measure", "method", "n_repetitions", "n_cells", "error", "retest"),
    *("worth_averages", "bound", "worth"),
)
BRAIN_COLUMNS = ("truth", *SUMMARY_COLUMNS)
_SHOWN = {
    "gm_overlap": "grey matter: 1 - Dice",
    "wm_overlap": "white matter: 1 - Dice",
    "fa": "error of FA",
    "v1_deg": "error of main direction, degrees",
    "bundle_overlap": "bundle: 1 - Dice",
    "thickness_mm": "cortical thickness, mm",
    "regional_thickness_mm": "thickness of pieces of cortex, mm",
    "log_jacobian": "log of the Jacobian to a template",
}
"""Measures of the picture, and their names; others too, where none of these is there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One method under one condition, for one measure."""

    condition: str
    noise_level: str
    measure: str
    method: str
    n_repetitions: int
    n_cells: int
    error: float
    retest: float | None
    """Of the cells with two groups of repetitions."""
    worth: Worth

    def texts(self) -> list[str]:
        """Cells of the row, in the order of `SUMMARY_COLUMNS`."""
        retest = "" if self.retest is None else f"{self.retest:.6g}"
        return [
            *(self.condition, self.noise_level, self.measure, self.method, str(self.n_repetitions)),
            *(str(self.n_cells), f"{self.error:.6g}", retest, f"{self.worth.n_averages:.3g}"),
            *(self.worth.bound, str(self.worth)),
        ]


def summarise(rows: Sequence[Mapping[str, str]]) -> list[Entry]:
    """Average errors over truths and draws, and find the number of plain averages of the same error.

    Errors of single draws are too uneven to say what a method is worth, above all those of volumes; so
    the number is found of the averaged errors. Cells count only where every mean of the ladder, and the
    method, has a row.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of ``downstream.tsv``.
    """
    groups: dict[tuple[str, str, str], list[Mapping[str, str]]] = defaultdict(list)
    for row in rows:
        if row["status"] == "ok":
            groups[row["condition"], row["noise_level"], row["measure"]].append(row)
    return [entry for key, members in groups.items() for entry in _entries(key, members)]


def summarise_brains(rows: Sequence[Mapping[str, str]]) -> dict[str, list[Entry]]:
    """The same for each truth alone, averaged over its draws, so that it is seen how far brains differ."""
    truths = dict.fromkeys(row["truth"] for row in rows)
    return {truth: summarise([row for row in rows if row["truth"] == truth]) for truth in truths}


def _entries(key: tuple[str, str, str], rows: Sequence[Mapping[str, str]]) -> list[Entry]:
    by_method: dict[tuple[str, int], dict[tuple[str, str], Mapping[str, str]]] = defaultdict(dict)
    for row in rows:
        by_method[row["method"], int(row["n_repetitions"])][row["truth"], row["seed"]] = row
    means = {size: cells for (name, size), cells in sorted(by_method.items()) if name == "mean"}
    whole = set.intersection(*map(set, means.values())) if means else set()
    entries = []
    for (method, size), cells in by_method.items():
        shared = sorted(whole & set(cells))
        if not shared:
            continue
        ladder = [float(np.mean([float(means[n][cell]["error"]) for cell in shared])) for n in means]
        error = float(np.mean([float(cells[cell]["error"]) for cell in shared]))
        retests = [float(cells[cell]["retest"]) for cell in shared if cells[cell]["retest"]]
        retest = float(np.mean(retests)) if retests else None
        # What a plain mean is worth needs no interpolation.
        worth = Worth(float(size)) if method == "mean" else equivalent_averages(list(means), ladder, error)
        entries.append(Entry(*key, method, size, len(shared), error, retest, worth))
    return entries


def draw_worth(summary: Sequence[Entry], out_file: Path) -> None:
    """Draw the error of plain means against their number, and where the methods' results lie on it.

    Parameters
    ----------
    out_file : Path
        PNG, replaced whole.
    """
    rows = list(dict.fromkeys((entry.condition, entry.noise_level) for entry in summary))
    measures = [name for name in _SHOWN if any(entry.measure == name for entry in summary)]
    measures = measures or list(dict.fromkeys(entry.measure for entry in summary))[:2]
    figure, axes = subplots(len(rows), len(measures), (5.2 * len(measures), 3.4 * len(rows) + 0.4))
    for row, (condition, level) in enumerate(rows):
        for column, measure in enumerate(measures):
            chosen = [
                e for e in summary if (e.condition, e.noise_level, e.measure) == (condition, level, measure)
            ]
            axis = axes[row, column]
            _draw_panel(axis, chosen)
            noise = level if level.startswith("SNR") else f"noise {level} SD"
            axis.set_title(f"{condition}, {noise}", fontsize=9)
            axis.set_ylabel(_SHOWN.get(measure, measure), fontsize=8)
    figure.suptitle("What two runs are worth in plain averages", fontsize=10)
    save_picture(figure, out_file)


def _draw_panel(axis: Any, entries: Sequence[Entry]) -> None:
    means = sorted((e for e in entries if e.method == "mean"), key=lambda e: e.n_repetitions)
    axis.loglog([e.n_repetitions for e in means], [e.error for e in means], "o-", color="0.4", label="mean")
    others = [e for e in entries if e.method != "mean"]
    for index, entry in enumerate(others):
        colour, count = f"C{index}", entry.worth.n_averages
        label = f"{entry.method} of {entry.n_repetitions}: worth {entry.worth}"
        axis.plot([entry.n_repetitions, count], [entry.error] * 2, ":", color=colour)
        axis.plot(count, entry.error, "D", color=colour, label=label)
    ticks = [e.n_repetitions for e in means]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    heights = np.geomspace(*np.quantile([e.error for e in entries if e.error > 0], (0, 1)), 5)
    axis.set_yticks(heights, [f"{height:.2g}" for height in heights])
    axis.minorticks_off()
    axis.set_xlabel("runs averaged", fontsize=8)
    axis.legend(fontsize=7)
