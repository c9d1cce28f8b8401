"""``benchmark --rates``: how fast networks and filters run on this machine, as ``doctor`` tells it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime

import torch

from n2a_bids.algorithms.nn.rates import measure_rates
from n2a_bids.lab.benchmark.config import BenchmarkConfig
from n2a_bids.lab.benchmark.machine import processor_kind, processor_name
from n2a_bids.lab.benchmark.table import RowTable, keep_settings

_KEYS = ("instructions", "processor", "threads", "device", "measured")
_RATES = ("training", "prediction", "fusion", "nonlocal_bayes")


def run_rates(config: BenchmarkConfig) -> int:
    """Measure the rates of a device, and write ``rates.tsv``: voxels per second.

    Parameters
    ----------
    config : BenchmarkConfig
        Its device and its threads are measured; with ``--resume`` a row is added to those that are there.

    Returns
    -------
    exit_code : int
        0.

    Raises
    ------
    ConfigError
        If rows are there already and are not to be kept.
    """
    path = config.out / "rates.tsv"
    keep_settings(path, {"unit": "voxels/s"}, resume=config.resume)
    torch.set_num_threads(config.omp_nthreads)
    device = torch.device(config.device)
    is_gpu = device.type == "cuda"
    row = {
        "instructions": "CUDA" if is_gpu else processor_kind(),
        "processor": torch.cuda.get_device_name() if is_gpu else processor_name(),
        "threads": config.omp_nthreads,
        "measured": f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}",
        **asdict(measure_rates(device)),
    }
    RowTable(path, (*_KEYS, "precision", *_RATES), _KEYS).add(row)
    found = ", ".join(f"{name} {row[name] / 1000:.0f}" for name in _RATES)
    sys.stderr.write(f"{row['instructions']}, {row['precision']}: {found} thousand voxels/s\n")
    return 0
