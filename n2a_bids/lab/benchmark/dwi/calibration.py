"""Is the uncertainty map of diffusion series true? Expected against true error on phantoms."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from n2a_bids.algorithms.diffusion.shells import find_shells
from n2a_bids.lab.benchmark.anat.calibration import HALF_WIDTH_90, N_BINS, measure_calibration
from n2a_bids.lab.benchmark.dwi.phantoms import Simulated, Truth, simulate
from n2a_bids.lab.benchmark.dwi.run import DiffusionPlan
from n2a_bids.lab.benchmark.strategies import denoise_by_strategy
from n2a_bids.lab.benchmark.table import RowTable

_KEY = ("series", "phantom", "condition", "snr", "seed", "shell")
_COLUMNS = (
    *_KEY,
    *("n_volumes", "rmse", "expected_rmse", "coverage_90"),
    *(f"decile_{n + 1}" for n in range(N_BINS)),
)


def run_dwi_calibration(truths: Sequence[Truth], series: str, plan: DiffusionPlan, path: Path) -> int:
    """Compare expected and true errors of `auto` in every cell, shell by shell.

    Parameters
    ----------
    series : str
        Name of the series that they were made from.
    plan : DiffusionPlan
        Its methods do not count.
    path : Path
        TSV; cells that it holds are left out.

    Returns
    -------
    exit_code : int
        0.
    """
    table = RowTable(path, _COLUMNS, _KEY)
    torch.set_num_threads(plan.settings.n_threads)
    for truth, *cell in itertools.product(truths, plan.seeds, plan.conditions, plan.scans, plan.snrs):
        seed, condition, scan, snr = cell
        shown = condition if scan == "aligned" else f"{condition}-{scan}"
        key = {"series": series, "phantom": truth.name, "condition": shown, "snr": f"{snr:g}", "seed": seed}
        if all(table.has(key | {"shell": f"{shell:g}"}) for shell in np.unique(find_shells(truth.gradients))):
            continue
        for row in _measure(simulate(truth, condition, snr, seed, plan.peak_mm, scan), plan, seed):
            table.add(key | row)
            worst = max(abs(float(row[f"decile_{n + 1}"]) - 1) for n in range(N_BINS))
            sys.stderr.write(f"{key} shell {row['shell']}: worst decile {worst:.0%} off\n")
    return 0


def _measure(simulated: Simulated, plan: DiffusionPlan, seed: int) -> Iterator[dict[str, str]]:
    """One row for each shell, errors over the noise SD of one repetition."""
    denoised = denoise_by_strategy("auto", simulated.repetitions, replace(plan.settings, random_seed=seed))
    truth, unit = simulated.truth, simulated.noise_sd
    shells = find_shells(truth.gradients)
    for index, shell in enumerate(denoised.record.uncertainty_shells or ()):
        error = (denoised.data - truth.signal)[..., shells == shell][truth.mask] / unit
        error_sd = denoised.uncertainty[..., index][truth.mask] / unit
        # The map tells the root mean square over the volumes of a shell.
        found = measure_calibration(np.sqrt(np.mean(np.square(error), axis=-1)), error_sd)
        row = {
            "shell": shell,
            "n_volumes": np.count_nonzero(shells == shell),
            "rmse": found.rmse,
            "expected_rmse": found.expected_rmse,
            "coverage_90": (np.abs(error) <= HALF_WIDTH_90 * error_sd[:, None]).mean(),
            **{f"decile_{number + 1}": ratio for number, ratio in enumerate(found.deciles)},
        }
        yield {name: f"{value:.5g}" for name, value in row.items()}
