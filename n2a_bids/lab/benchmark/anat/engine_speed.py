"""Arithmetic speed of network training and prediction, against the ceiling of the device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from n2a_bids.algorithms.nn.precision import precision_for
from n2a_bids.algorithms.nn.training import Batch, Schedule, fit
from n2a_bids.algorithms.nn.weights import build_network
from n2a_bids.lab.benchmark.worker import peak_memory_mb
from n2a_bids.record.typed_json import JsonObject

SpeedRow = JsonObject

NETWORKS = ("resunet-t1w", "munet-t1w")
_REPEATS = 3


def measure_ceilings(device: torch.device) -> list[SpeedRow]:
    """Rates of a large matrix product (bf16 and fp32) and of a large copy.

    Returns
    -------
    rows : list of dict
        ``tflops`` of the products; ``gb_per_s`` of the copy, read and write counted.
    """
    edge = 8192 if device.type == "cuda" else 2048
    rows: list[SpeedRow] = []
    for precision in (torch.bfloat16, torch.float32):
        a, b = (torch.ones(edge, edge, dtype=precision, device=device) for _ in range(2))
        seconds = _best_time(lambda a=a, b=b: torch.mm(a, b), device)
        rows.append(
            {
                "phase": "ceiling",
                "item": f"matrix product {edge}",
                "precision": _name(precision),
                "seconds": seconds,
                "tflops": 2 * edge**3 / seconds / 1e12,
            }
        )
    source = torch.ones((1 << 30 if device.type == "cuda" else 1 << 26), device=device)
    target = torch.empty_like(source)
    seconds = _best_time(lambda: target.copy_(source), device)
    moved = 2 * source.numel() * source.element_size()
    rows.append({"phase": "ceiling", "item": "copy", "seconds": seconds, "gb_per_s": moved / seconds / 1e9})
    return rows


def measure_training(
    name: str, device: torch.device, block_edge: int, batch_size: int, n_steps: int = 4
) -> SpeedRow:
    """Time the training step of the one training loop on random blocks held on the device.

    Parameters
    ----------
    name : str
        ``resunet-t1w`` or ``munet-t1w``.
    block_edge : int
        Voxels along each axis of a block.
    batch_size : int
        Blocks per step.
    n_steps : int
        Steps that are timed, after one that is not.

    Returns
    -------
    row : dict
        Seconds per step, TFLOP/s of forward and backward convolutions, peak memory.
    """
    network = build_network(name, None).to(device, memory_format=torch.channels_last_3d)
    block = torch.zeros(batch_size, 1, *([block_edge] * 3), device=device)
    block = block.contiguous(memory_format=torch.channels_last_3d)
    batch = Batch(block, torch.ones_like(block), block, torch.ones_like(block))
    with FlopCounterMode(display=False) as counter:
        network(batch.noisy, batch.noise_sd).sum().backward()
    _reset_peak(device)
    fit(network, lambda: batch, Schedule(1, 1, 1e-6), device=device)
    start = time.perf_counter()
    fit(network, lambda: batch, Schedule(1, n_steps, 1e-6), device=device)
    seconds = (time.perf_counter() - start) / n_steps
    item = f"{name}, {batch_size} x {block_edge}^3"
    return _row("training step", item, device, seconds, counter.get_total_flops())


@torch.no_grad()
def measure_prediction(name: str, device: torch.device, block_edge: int) -> SpeedRow:
    """Time the prediction of one block; parameters and result are those of `measure_training`."""
    network = build_network(name, None).to(device, memory_format=torch.channels_last_3d)
    block = torch.zeros(1, 1, *([block_edge] * 3), device=device)
    block = block.contiguous(memory_format=torch.channels_last_3d)
    with FlopCounterMode(display=False) as counter:
        network(block, block)
    precision = precision_for(device)
    _reset_peak(device)
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        seconds = _best_time(lambda: network(block, block), device)
    return _row("prediction", f"{name}, {block_edge}^3", device, seconds, counter.get_total_flops())


def _row(phase: str, item: str, device: torch.device, seconds: float, flops: int) -> SpeedRow:
    memory = torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else peak_memory_mb()
    return {
        "phase": phase,
        "item": item,
        "precision": _name(precision_for(device)),
        "seconds": seconds,
        "tflops": flops / seconds / 1e12,
        "peak_memory_mb": memory,
    }


def _best_time(work: Callable[[], object], device: torch.device) -> float:
    """Shortest of some calls, after one that warms up."""
    work()
    times = []
    for _ in range(_REPEATS):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - start)
    return min(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _name(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")
