"""Runs the benchmark on diffusion series: every method on every simulated cell, and the summary."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.shells import find_shells
from n2a_bids.algorithms.diffusion.split import split_series, split_volumes
from n2a_bids.algorithms.diffusion.tensor import (
    TensorFit,
    fit_tensor,
    fractional_anisotropy,
    mean_diffusivity,
    principal_direction,
)
from n2a_bids.algorithms.quality.metrics import ssim
from n2a_bids.lab.benchmark.dwi.methods import SUPERVISED, denoise_simulated
from n2a_bids.lab.benchmark.dwi.phantoms import Simulated, Truth, as_repetitions, simulate
from n2a_bids.lab.benchmark.strategies import MethodSettings
from n2a_bids.lab.benchmark.table import RowTable
from n2a_bids.lab.benchmark.worker import run_in_child
from n2a_bids.strategy_table import takes_halves

CELL_COLUMNS = ("phantom", "condition", "snr", "seed", "method")
COLUMNS = (
    *CELL_COLUMNS,
    *(
        "psnr_b0_db",
        "psnr_dwi_db",
        "ssim_dwi",
        "fa_error",
        "md_error",
        "v1_error_deg",
        "dwi_bias",
        "seconds",
        "peak_memory_mb",
        "chosen",
    ),
)

_SSIM_VOLUMES = 4
"""Weighted volumes, evenly spread, that the similarity is averaged over."""
_FIBRE_FA = 0.25
"""FA above which a principal direction is worth comparing."""
Row = Mapping[str, str]

_CELL = ("phantom", "condition", "snr")
_MEASURES = {
    "psnr_dwi_db": ("PSNR of DWI, dB", 2, 1.0, True),
    "ssim_dwi": ("SSIM of DWI", 3, 1.0, True),
    "fa_error": ("FA error", 4, 1.0, False),
    "md_error": ("MD error, 1e-5 mm2/s", 2, 1e5, False),
    "v1_error_deg": ("V1 error, deg", 2, 1.0, False),
    "dwi_bias": ("bias of DWI, %", 1, 100.0, None),
    "seconds": ("seconds", 1, 1.0, None),
    "peak_memory_mb": ("memory, MB", 0, 1.0, None),
}
"""Title, digits, factor, and whether more is better (None: neither)."""


@dataclass(frozen=True, slots=True)
class DiffusionPlan:
    """Cells of the benchmark."""

    phantoms: tuple[str, ...] = ("tensor", "multi-tensor")
    conditions: tuple[str, ...] = ("single", "repeat", "reverse-pe")
    scans: tuple[str, ...] = ("aligned",)
    """Rows of the table of conditions: what the scanner does."""
    snrs: tuple[float, ...] = (10.0, 15.0, 20.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    methods: tuple[str, ...] = ("noisy", "auto", "mppca", "patch2self")
    peak_mm: float = 15.0
    """Largest displacement of reverse-PE pairs."""
    settings: MethodSettings = field(default_factory=MethodSettings)
    """The seed is that of each cell."""

    @property
    def needs_elsewhere(self) -> bool:
        """Whether a method learns from the rest of the brain."""
        return SUPERVISED in self.methods


def run_diffusion(truths: Sequence[Truth], plan: DiffusionPlan, table_path: Path) -> Path:
    """Fill the table, cell by cell; rows that are there already are kept.

    Parameters
    ----------
    table_path : Path
        TSV file.
    """
    table = RowTable(table_path, COLUMNS, CELL_COLUMNS)
    done = {tuple(row[column] for column in CELL_COLUMNS) for row in table.rows}
    cells = itertools.product(truths, plan.seeds, plan.conditions, plan.scans, plan.snrs)
    for truth, seed, condition, scan, snr in cells:
        shown = condition if scan == "aligned" else f"{condition}-{scan}"
        keys = [(truth.name, shown, f"{snr:g}", str(seed), method) for method in plan.methods]
        missing = [key for key in keys if key not in done]
        if not missing:
            continue
        simulated = simulate(truth, condition, snr, seed, plan.peak_mm, scan)
        scanned = simulated.truth
        reference = fit_tensor(scanned.signal, scanned.gradients, scanned.mask)
        for key in missing:
            table.add(dict(zip(CELL_COLUMNS, key)) | _measure(simulated, reference, key, plan))
    return table_path


def _measure(
    simulated: Simulated, reference: TensorFit, key: tuple[str, ...], plan: DiffusionPlan
) -> dict[str, str]:
    truth, repetitions = simulated.truth, simulated.repetitions
    if key[1] == "split" and takes_halves(key[-1]):
        halves = split_volumes(truth.gradients, torch.Generator().manual_seed(int(key[3])))
        series = split_series(repetitions.data[0], truth.gradients, truth.mask, halves)
        simulated = replace(simulated, repetitions=as_repetitions(truth, np.stack(series)))
    snr, seed, method = float(key[2]), int(key[3]), key[-1]
    settings = replace(plan.settings, random_seed=seed)
    outcome = run_in_child(partial(denoise_simulated, method, simulated, settings, snr))
    metrics = compare(outcome.image, truth, reference)
    row = {name: f"{value:.6g}" for name, value in metrics.items()}
    return row | {
        "seconds": f"{outcome.seconds:.2f}",
        "peak_memory_mb": f"{outcome.peak_memory_mb:.0f}",
        "chosen": outcome.metrics["chosen"],
    }


def compare(estimate: NDArray[np.float32], truth: Truth, reference: TensorFit) -> dict[str, float]:
    """Errors against the truth.

    Parameters
    ----------
    estimate : (X, Y, Z, C) array
    reference : TensorFit
        Of the truth.

    Returns
    -------
    metrics : dict
        PSNR with the in-mask range as peak (b0 and weighted volumes apart), SSIM, mean absolute errors of
        FA and MD (mm2/s) over the brain, mean angle between principal directions where the true FA exceeds
        0.25, and mean relative bias of the weighted signal.
    """
    mask, shells = truth.mask, find_shells(truth.gradients)
    fit = fit_tensor(estimate, truth.gradients, mask)
    fa, true_fa = fractional_anisotropy(fit), fractional_anisotropy(reference)
    cosine = np.abs(np.sum(principal_direction(fit) * principal_direction(reference), axis=1))
    angle = np.degrees(np.arccos(np.clip(cosine, 0, 1)))
    weighted = shells > 0
    shown = np.flatnonzero(weighted)[:: max(1, int(weighted.sum()) // _SSIM_VOLUMES)]
    bias = (estimate - truth.signal)[mask][:, weighted].mean() / truth.signal[mask][:, weighted].mean()
    return {
        "psnr_b0_db": _psnr(estimate, truth.signal, mask, ~weighted),
        "psnr_dwi_db": _psnr(estimate, truth.signal, mask, weighted),
        "ssim_dwi": float(np.mean([ssim(estimate[..., c], truth.signal[..., c], mask) for c in shown])),
        "fa_error": float(np.abs(fa - true_fa).mean()),
        "md_error": float(np.abs(mean_diffusivity(fit) - mean_diffusivity(reference)).mean()),
        "v1_error_deg": float(angle[true_fa > _FIBRE_FA].mean()),
        "dwi_bias": float(bias),
    }


def _psnr(estimate: NDArray, truth: NDArray, mask: NDArray[np.bool_], volumes: NDArray[np.bool_]) -> float:
    if not volumes.any():
        return float("nan")
    target = truth[mask][:, volumes]
    error = np.mean((estimate[mask][:, volumes] - target) ** 2)
    return float(20 * np.log10(np.ptp(target)) - 10 * np.log10(error))


def summarise_diffusion(rows: Sequence[Row], method: str = "auto") -> str:
    """Markdown page of the rows.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of ``diffusion.tsv``.
    method : str
        Whose lead over every other method is counted.

    Returns
    -------
    text : str
        One table with mean and SD over the draws, then in how many cells `method` leads.
    """
    head = ["phantom", "condition", "SNR", "method", "draws", *(title for title, *_ in _MEASURES.values())]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for key, members in _grouped(rows, (*_CELL, "method")).items():
        values = [_spread(members, name) for name in _MEASURES]
        lines.append("| " + " | ".join([*key, str(len(members)), *values]) + " |")
    lines += ["", "Mean, and SD over the noise draws where there are several."]
    methods = {row["method"] for row in rows}
    if method in methods and len(methods) > 1:
        lines += ["", f"`{method}` against the others:", "", *_leads(rows, method)]
    return "\n".join(lines) + "\n"


def _leads(rows: Sequence[Row], method: str) -> list[str]:
    lines = []
    for name, (title, _, _, more_is_better) in _MEASURES.items():
        if more_is_better is None:
            continue
        sign = -1 if more_is_better else 1
        cells = _grouped(rows, _CELL)
        behind = []
        n_cells = 0
        for key, members in cells.items():
            means = {
                which: sign * float(np.mean([float(row[name]) for row in group]))
                for (which,), group in _grouped(members, ("method",)).items()
            }
            if method in means and len(means) > 1:
                n_cells += 1
                best = min(means, key=means.__getitem__)
                behind += [] if best == method else [f"{' '.join(key)} (behind {best})"]
        text = f"best in {n_cells - len(behind)} of {n_cells} cells"
        lines.append(f"- {title}: {text}{': not in ' + ', '.join(behind) if behind else ''}")
    return lines


def _grouped(rows: Iterable[Row], columns: Sequence[str]) -> dict[tuple[str, ...], list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups


def _spread(rows: Sequence[Row], name: str) -> str:
    _, digits, factor, _ = _MEASURES[name]
    values = np.array([float(row[name]) * factor for row in rows])
    spread = f" ± {values.std(ddof=1):.{digits}f}" if values.size > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"
