"""Summary table of the T1w benchmark: mean and spread per cell, targets met or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from n2a_bids.lab.benchmark.table import MEASURES, Row
from n2a_bids.record.typed_json import JsonObject

GROUP_COLUMNS = ("condition", "noise_level", "n_repetitions", "method")
SUMMARY_COLUMNS = (
    *GROUP_COLUMNS,
    "n",
    *(f"{measure}_{part}" for measure in MEASURES for part in ("mean", "sd")),
    "gain_over_mean_db",
    "gain_over_bm4d_db",
    "worst_gain_over_mean_db",
)
_RIVALS = ("mean", "bm4d")
_PAIRING_COLUMNS = ("truth", "condition", "noise_level", "n_repetitions", "seed")


@dataclass(frozen=True, slots=True)
class Target:
    """One statement about the results, and whether it holds."""

    statement: str
    value: float
    """Smallest margin found (dB or SSIM); not a number when the rows for it are missing."""
    limit: float

    @property
    def verdict(self) -> str:
        """``met``, ``not met`` or ``not measured``."""
        if np.isnan(self.value):
            return "not measured"
        return "met" if self.value >= self.limit else "not met"


def summarise(rows: Iterable[Row]) -> list[JsonObject]:
    """Average over the seeds of each truth, then over truths.

    Parameters
    ----------
    rows : iterable of dict
        Rows of the benchmark's table; failed ones are left out.

    Returns
    -------
    summary : list of dict
        One per condition, noise level, number of repetitions and method, with `SUMMARY_COLUMNS`;
        ``n`` counts truths, and spreads are standard deviations over them. Gains are paired: same
        data. Rows without a measure (not a number) do not count for it.
    """
    finished = [row for row in rows if row["status"] == "ok"]
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in finished:
        groups[tuple(row[column] for column in GROUP_COLUMNS)].append(row)
    over = [_gains(finished, "psnr_db", rival) for rival in _RIVALS]
    summary = []
    for key, members in sorted(groups.items(), key=lambda item: _order(item[0])):
        entry: JsonObject = dict(zip(GROUP_COLUMNS, key, strict=True))
        entry["n"] = len({row["truth"] for row in members})
        for measure in MEASURES:
            values = _by_truth([(row, float(row[measure])) for row in members])
            entry[f"{measure}_mean"] = float(np.mean(values)) if values else float("nan")
            entry[f"{measure}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        gains = [[(row, gains[id(row)]) for row in members if id(row) in gains] for gains in over]
        for rival, rows_and_gains in zip(_RIVALS, gains):
            values = _by_truth(rows_and_gains)
            entry[f"gain_over_{rival}_db"] = float(np.mean(values)) if values else float("nan")
        entry["worst_gain_over_mean_db"] = min((gain for _, gain in gains[0]), default=float("nan"))
        summary.append(entry)
    return summary


def check_targets(rows: Iterable[Row], method: str = "auto") -> list[Target]:
    """Compare a method with what the project asks of it, condition by condition.

    Parameters
    ----------
    rows : iterable of dict
        Rows of the benchmark's table.
    method : str
        The method that is compared.

    Returns
    -------
    targets : list of Target
        A *cell* is one truth, condition, noise level and number of repetitions, averaged over seeds.
    """
    conditions: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["status"] == "ok":
            conditions[row["condition"]].append(row)
    return [
        Target(f"{name}: {target.statement}", target.value, target.limit)
        for name, members in sorted(conditions.items())
        for target in _check_condition(members, method)
    ]


def _check_condition(rows: list[Row], method: str) -> list[Target]:
    def margin(measure: str, rival: str, reduce: Callable[[Sequence[float]], float]) -> float:
        gains = _gains(rows, measure, rival)
        cells: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for row in rows:
            if row["method"] == method and id(row) in gains:
                cells[_pair(row)[:-1]].append(gains[id(row)])
        return float(reduce([np.mean(values) for values in cells.values()])) if cells else np.nan

    single = [_gains(rows, "psnr_db", "mean").get(id(row)) for row in rows if row["method"] == method]
    runs = [gain for gain in single if gain is not None]
    return [
        Target("PSNR over BM4D, every cell (dB)", margin("psnr_db", "bm4d", min), 0.3),
        Target("PSNR over BM4D, average (dB)", margin("psnr_db", "bm4d", np.mean), 1.0),
        Target("edge PSNR over BM4D, every cell (dB)", margin("edge_psnr_db", "bm4d", min), 0.3),
        Target("edge PSNR over BM4D, average (dB)", margin("edge_psnr_db", "bm4d", np.mean), 1.0),
        Target("SSIM over BM4D, every cell", margin("ssim", "bm4d", min), 0.0),
        Target("PSNR over Noise2Noise, every cell (dB)", margin("psnr_db", "noise2noise", min), 0.0),
        Target("PSNR over the supervised oracle, every cell (dB)", margin("psnr_db", "oracle", min), -0.3),
        Target("PSNR over the mean, every single run (dB)", min(runs) if runs else np.nan, 0.0),
    ]


def format_summary(summary: Sequence[JsonObject], targets: Sequence[Target]) -> str:
    """Markdown page of the summary: one table per condition, then the targets."""
    lines = [_READING, ""]
    for condition in dict.fromkeys(str(entry["condition"]) for entry in summary):
        lines += [f"## {condition}", "", *_table(e for e in summary if e["condition"] == condition), ""]
    lines += ["## Targets", "", "| statement | found | asked | verdict |", "|---|---|---|---|"]
    lines += [f"| {t.statement} | {t.value:.3f} | {t.limit:g} | {t.verdict} |" for t in targets]
    return "\n".join(lines) + "\n"


_READING = """\
n: heads. Draws of the noise are averaged first, then heads; ± is the standard deviation over heads. Where
the condition is *echoes*, baselines such as BM4D see the first echo alone. nan: not measured."""


def _table(entries: Iterable[JsonObject]) -> list[str]:
    header = ("noise", "R", "method", "n", "PSNR dB", "edge PSNR dB", "SSIM", "NRMSE", "sharpness over truth")
    header += ("residual-edge r", "over mean dB", "over BM4D dB", "s", "MB")
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for e in entries:
        cells = [e["noise_level"], e["n_repetitions"], e["method"], e["n"]]
        cells += [f"{e['psnr_db_mean']:.2f} ± {e['psnr_db_sd']:.2f}", f"{e['edge_psnr_db_mean']:.2f}"]
        cells += [f"{e['ssim_mean']:.4f}", f"{e['nrmse_mean']:.4f}", f"{e['sharpness_over_truth_mean']:.3f}"]
        cells += [f"{e['residual_edge_correlation_mean']:.3f}"]
        cells += [f"{e[f'gain_over_{rival}_db']:+.2f}" for rival in ("mean", "bm4d")]
        cells += [f"{e['seconds_mean']:.1f}", f"{e['peak_memory_mb_mean']:.0f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def _pair(row: Row) -> tuple[str, ...]:
    return tuple(row[column] for column in _PAIRING_COLUMNS)


def _gains(rows: Sequence[Row], measure: str, rival: str) -> dict[int, float]:
    """Row identity -> its measure minus that of the rival on the same data."""
    reference = {_pair(row): float(row[measure]) for row in rows if row["method"] == rival}
    return {id(row): float(row[measure]) - reference[_pair(row)] for row in rows if _pair(row) in reference}


def _by_truth(rows_and_values: Iterable[tuple[Row, float]]) -> list[float]:
    """Mean over the seeds of each truth, of the values that are numbers."""
    truths: dict[str, list[float]] = defaultdict(list)
    for row, value in rows_and_values:
        if np.isfinite(value):
            truths[row["truth"]].append(value)
    return [float(np.mean(values)) for values in truths.values()]


def _order(key: tuple[str, ...]) -> tuple[object, ...]:
    condition, level, repetitions, method = key
    return condition, float(level), int(repetitions), method
