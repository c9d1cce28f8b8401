"""Numeric precision of networks: bfloat16 where this processor or GPU is faster with it, else float32."""

from __future__ import annotations

import time
from functools import cache

import torch
from torch.nn import functional

from n2a_bids.algorithms.threads import one_thread

_SURELY_FASTER = 0.8
"""Time in bfloat16 over that in float32, below which bfloat16 is taken. Tile units (AMX) give 0.08, the
vector units of Xeons 1.5 and more: nowhere near, so that noise of the clock does not change the choice."""

_SURELY_SLOWER = 3.0

_EDGE, _N_CHANNELS, _N_ROUNDS = 24, 64, 4
"""Of the convolution that is timed: the level of the networks where most of their time goes. On blocks of 16
voxels float32 runs at a third of its rate."""


_LEAST_EDGE = 12
"""Of blocks that are learned from in bfloat16: the first with three voxels at the third level."""


def precision_for(device: torch.device) -> torch.dtype:
    """The precision in which networks are trained and applied on a device.

    Returns
    -------
    precision : torch.dtype
        bfloat16 where it is faster, else float32. GPUs are asked; processors are timed once in a process,
        with all that narrows them (``ONEDNN_MAX_CPU_ISA``), where they claim bfloat16 at all. The number of
        threads has no part in it.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    claims_bfloat16 = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    if not claims_bfloat16 or not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return torch.float32
    return torch.bfloat16 if _time_over_float32() < _SURELY_FASTER else torch.float32


def training_precision(device: torch.device, edge: int) -> torch.dtype:
    """The precision in which a network learns from blocks.

    On processors, oneDNN (torch 2.13, AVX512-BF16) forms the gradient of a kernel of three voxels from memory
    that nobody wrote, in bfloat16, where the first spatial axis has two voxels: the loss becomes NaN, or the
    weights learn rubbish. Networks of three levels come to two voxels in blocks of 8; in float32 these cost
    nothing.

    Parameters
    ----------
    edge : int
        Voxels of a block along its first spatial axis.

    Returns
    -------
    precision : torch.dtype
        That of `precision_for`, but for small blocks on a processor.

    Examples
    --------
    >>> training_precision(torch.device("cpu"), 8)
    torch.float32
    """
    return torch.float32 if device.type == "cpu" and edge < _LEAST_EDGE else precision_for(device)


@cache
def _time_over_float32() -> float:
    """Time of a convolution as the networks have it, bfloat16 over float32: the best of some rounds."""
    block = torch.ones(1, _N_CHANNELS, _EDGE, _EDGE, _EDGE).contiguous(memory_format=torch.channels_last_3d)
    kernel = torch.ones(_N_CHANNELS, _N_CHANNELS, 3, 3, 3)
    operands = [(block.to(dtype), kernel.to(dtype)) for dtype in (torch.bfloat16, torch.float32)]
    # Threads that wait for each other on busy processors take longer than the work, in either precision.
    with one_thread():
        first = _seconds_in_turn(operands)  # the first round chooses its kernels
        if first[0] > _SURELY_SLOWER * first[1]:
            return first[0] / first[1]
        bfloat16_s, float32_s = map(min, zip(*(_seconds_in_turn(operands) for _ in range(_N_ROUNDS))))
    return bfloat16_s / float32_s


@torch.no_grad()
def _seconds_in_turn(operands: list[tuple[torch.Tensor, torch.Tensor]]) -> list[float]:
    """Seconds of the convolution of every block with its kernel."""
    seconds = []
    for block, kernel in operands:
        started = time.perf_counter()
        functional.conv3d(block, kernel, padding=1)
        seconds.append(time.perf_counter() - started)
    return seconds
