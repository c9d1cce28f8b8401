"""Describes the machine of a benchmark: processor, memory, versions."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

from n2a_bids import __version__
from n2a_bids.system.packages import package_version

_PACKAGES = ("torch", "numpy", "dipy", "antspyx", "bm4d")


def describe_machine(n_threads: int) -> list[str]:
    """Lines of ``name: value``: date, processor, GPU, threads, versions."""
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cores = len(os.sched_getaffinity(0))
    return [
        f"date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"processor: {processor_name()}, {cores} cores usable, {n_threads} threads used",
        f"instruction set used by torch: {torch.backends.cpu.get_cpu_capability()}",
        f"GPU: {', '.join(names) or 'none'}",
        f"system: {platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"n2a_bids: {__version__}",
        *(f"{name}: {package_version(name) or 'not installed'}" for name in _PACKAGES),
    ]


def processor_name() -> str:
    """Model name of the first processor, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def processor_kind() -> str:
    """The widest instructions that networks can use here: AMX, AVX512-BF16, AVX512, AVX2 or what torch says.

    Examples
    --------
    >>> isinstance(processor_kind(), str)
    True
    """
    capability = torch.backends.cpu.get_cpu_capability()
    kind = capability
    if capability.startswith("AVX512"):
        if torch.cpu._is_amx_tile_supported():
            kind = "AMX"
        elif torch.cpu._is_avx512_bf16_supported():
            kind = "AVX512-BF16"
        else:
            kind = "AVX512"
    held = os.environ.get("ONEDNN_MAX_CPU_ISA")
    return f"{kind}, held to {held} by ONEDNN_MAX_CPU_ISA" if held else kind
