"""From rows to what a reader wants: mean and spread per cell, and the targets met or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from n2a_bids.benchmark.rows import MEASURES, Row

GROUP_COLUMNS = ("condition", "noise_level", "n_repetitions", "method")
SUMMARY_COLUMNS = (
    *GROUP_COLUMNS,
    "n",
    *(f"{measure}_{part}" for measure in MEASURES for part in ("mean", "sd")),
    "gain_over_mean_db",
    "gain_over_bm4d_db",
    "worst_gain_over_mean_db",
)
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


def summarise(rows: Iterable[Row]) -> list[dict[str, object]]:
    """Average over truths and seeds.

    Parameters
    ----------
    rows : iterable of dict
        Rows of the benchmark's table; failed ones are left out.

    Returns
    -------
    summary : list of dict
        One per condition, noise level, number of repetitions and method, with `SUMMARY_COLUMNS`;
        spreads are standard deviations over truths and seeds. Gains are paired: same data.
    """
    finished = [row for row in rows if row["status"] == "ok"]
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in finished:
        groups[tuple(row[column] for column in GROUP_COLUMNS)].append(row)
    over_mean = _gains(finished, "psnr_db", "mean")
    over_bm4d = _gains(finished, "psnr_db", "bm4d")
    summary = []
    for key, members in sorted(groups.items(), key=lambda item: _order(item[0])):
        entry: dict[str, object] = dict(zip(GROUP_COLUMNS, key, strict=True)) | {"n": len(members)}
        for measure in MEASURES:
            values = np.array([float(row[measure]) for row in members])
            entry[f"{measure}_mean"] = float(values.mean())
            entry[f"{measure}_sd"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        entry["gain_over_mean_db"] = _average(over_mean, members, np.mean)
        entry["gain_over_bm4d_db"] = _average(over_bm4d, members, np.mean)
        entry["worst_gain_over_mean_db"] = _average(over_mean, members, np.min)
        summary.append(entry)
    return summary


def judge(rows: Iterable[Row], method: str = "auto") -> list[Target]:
    """Compare a method with what the project asks of it.

    Parameters
    ----------
    rows : iterable of dict
        Rows of the benchmark's table.
    method : str
        The method under judgement.

    Returns
    -------
    targets : list of Target
        A *cell* is one truth, condition, noise level and number of repetitions, averaged over seeds.
    """
    finished = [row for row in rows if row["status"] == "ok"]

    def margin(measure: str, rival: str, reduce: Callable[[Sequence[float]], float]) -> float:
        gains = _gains(finished, measure, rival)
        cells: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for row in finished:
            if row["method"] == method and id(row) in gains:
                cells[_pair(row)[:-1]].append(gains[id(row)])
        return float(reduce([np.mean(values) for values in cells.values()])) if cells else np.nan

    single = [_gains(finished, "psnr_db", "mean").get(id(row)) for row in finished if row["method"] == method]
    runs = [gain for gain in single if gain is not None]
    return [
        Target("PSNR over BM4D of the mean, every cell (dB)", margin("psnr_db", "bm4d", min), 0.3),
        Target("PSNR over BM4D of the mean, average (dB)", margin("psnr_db", "bm4d", np.mean), 1.0),
        Target("edge PSNR over BM4D of the mean, every cell (dB)", margin("edge_psnr_db", "bm4d", min), 0.3),
        Target("edge PSNR over BM4D of the mean, average (dB)", margin("edge_psnr_db", "bm4d", np.mean), 1.0),
        Target("SSIM over BM4D of the mean, every cell", margin("ssim", "bm4d", min), 0.0),
        Target("PSNR over Noise2Noise, every cell (dB)", margin("psnr_db", "noise2noise", min), 0.0),
        Target("PSNR over the supervised oracle, every cell (dB)", margin("psnr_db", "oracle", min), -0.3),
        Target("PSNR over the mean, every single run (dB)", min(runs) if runs else np.nan, 0.0),
    ]


def format_summary(summary: Sequence[dict[str, object]], targets: Sequence[Target]) -> str:
    """Markdown page of the summary: one table per condition, then the targets."""
    lines = []
    for condition in dict.fromkeys(str(entry["condition"]) for entry in summary):
        lines += [f"## {condition}", "", *_table(e for e in summary if e["condition"] == condition), ""]
    lines += ["## Targets", "", "| statement | found | asked | verdict |", "|---|---|---|---|"]
    lines += [f"| {t.statement} | {t.value:.3f} | {t.limit:g} | {t.verdict} |" for t in targets]
    return "\n".join(lines) + "\n"


def _table(entries: Iterable[dict[str, object]]) -> list[str]:
    header = ("noise", "R", "method", "n", "PSNR dB", "edge PSNR dB", "SSIM", "NRMSE", "sharpness")
    header += ("residual-edge r", "over mean dB", "over BM4D dB", "s", "MB")
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for e in entries:
        cells = [e["noise_level"], e["n_repetitions"], e["method"], e["n"]]
        cells += [f"{e['psnr_db_mean']:.2f} ± {e['psnr_db_sd']:.2f}", f"{e['edge_psnr_db_mean']:.2f}"]
        cells += [f"{e['ssim_mean']:.4f}", f"{e['nrmse_mean']:.4f}", f"{e['sharpness_mean']:.3f}"]
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


def _average(gains: dict[int, float], members: Sequence[Row], reduce: Callable[..., float]) -> float:
    values = [gains[id(row)] for row in members if id(row) in gains]
    return float(reduce(values)) if values else float("nan")


def _order(key: tuple[str, ...]) -> tuple[object, ...]:
    condition, level, repetitions, method = key
    return condition, float(level), int(repetitions), method
