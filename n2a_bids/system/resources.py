"""Processors, memory and GPUs that this process may use, by cgroup, Slurm and affinity."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_UNITS_GB = {"K": 1024**-2, "M": 1 / 1024, "G": 1.0, "T": 1024.0}
_LARGEST_PLAIN_GB = 4096.0

_PROBE = """
import torch
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
if names:
    torch.ones(2, device="cuda").sum().item()
print("\\n".join("GPU " + name for name in names))
"""


@dataclass(frozen=True, slots=True)
class GpuProbe:
    """What a child process found when it tried the GPUs."""

    names: tuple[str, ...] = ()
    """One name per usable GPU; empty when there is none."""
    problem: str = ""
    """Why there is none, in the words of the driver or of torch."""


def parse_memory(text: str) -> float:
    """Read an amount of memory.

    Parameters
    ----------
    text : str
        ``1.5G``, ``8000M``, ``16GB``, ``2T``, or a plain number, which is in GB.

    Returns
    -------
    memory_gb : float
        The amount in GB (1024 MB).

    Raises
    ------
    ValueError
        If the text is not an amount, is not positive, or is a plain number so
        large that megabytes were meant.

    Examples
    --------
    >>> parse_memory("1.5G"), parse_memory("512M"), parse_memory("8")
    (1.5, 0.5, 8.0)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([KMGT]?)I?B?\s*", text.upper())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"expected an amount of memory such as 1.5G, 8000M or 8 (GB), found {text!r}")
    amount, unit = float(match[1]), match[2]
    if not unit and amount > _LARGEST_PLAIN_GB:
        raise ValueError(f"{text} without a unit means {text} GB; write {text}M if megabytes are meant")
    return amount * _UNITS_GB[unit or "G"]


def available_cpus(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> int:
    """Count the processors this process may use.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are looked for; another folder only in tests.
    environ : mapping
        Environment, for the Slurm variables.

    Returns
    -------
    n_cpus : int
        Smallest of affinity, cgroup quota (rounded up) and Slurm allocation; at least 1.
    """
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for folder in _cgroup_folders(root, "cpu"):
        quota = _cpu_quota(folder)
        if quota is not None:
            limits.append(max(1, -int(-quota // 1)))
    limits.append(_slurm_cpus(environ) or limits[0])
    return max(1, min(limits))


def available_memory_gb(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> float:
    """Tell how much memory this process may use.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are looked for; another folder only in tests.
    environ : mapping
        Environment, for the Slurm variables.

    Returns
    -------
    memory_gb : float
        Smallest of the machine's memory, every cgroup limit above this process
        and the Slurm allocation, in GB.
    """
    limits = [_machine_memory_gb(root), *_slurm_memory_gb(environ)]
    for folder in _cgroup_folders(root, "memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            value = _read(folder / name)
            if value.isdecimal():
                limits.append(int(value) / 1024**3)
    return min(limits)


def free_memory_gb(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> float:
    """Tell how much of the memory that this process may use is not in use.

    Parameters
    ----------
    root, environ
        As in `available_memory_gb`.

    Returns
    -------
    memory_gb : float
        Smallest of what the machine has free, what every cgroup above this process
        has left, and the Slurm allocation, in GB.
    """
    limits = [available_memory_gb(root, environ)]
    free = re.search(r"MemAvailable:\s+(\d+) kB", _read(root / "proc/meminfo"))
    if free:
        limits.append(int(free[1]) / 1024**2)
    for folder in _cgroup_folders(root, "memory"):
        limits += _left_in_cgroup_gb(folder)
    return min(limits)


def probe_gpus(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> GpuProbe:
    """Look for usable GPUs without touching CUDA in this process.

    A child process counts the devices and runs one operation on the first: a
    CUDA context in the parent would be inherited, broken, by every fork.

    Parameters
    ----------
    root : Path
        Where ``dev`` is looked for; another folder only in tests.
    environ : mapping
        Environment of the child; ``CUDA_VISIBLE_DEVICES`` is respected.

    Returns
    -------
    probe : GpuProbe
        Names of the usable GPUs, or the reason why there is none.
    """
    if not any((root / name).exists() for name in ("dev/nvidia0", "dev/nvidiactl", "dev/dxg", "dev/kfd")):
        return GpuProbe(problem="no GPU device is visible in /dev")
    try:
        child = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return GpuProbe(problem=f"the GPU could not be tried: {error}")
    names = tuple(line[4:] for line in child.stdout.splitlines() if line.startswith("GPU "))
    if child.returncode == 0 and names:
        return GpuProbe(names=names)
    last_line = (child.stderr.strip().splitlines() or ["torch sees no GPU"])[-1]
    return GpuProbe(problem=last_line)


def _read(path: Path) -> str:
    """Content of a small kernel file, stripped; empty when it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _slurm_cpus(environ: Mapping[str, str]) -> int | None:
    """Processors of a task; None outside of a job."""
    text = environ.get("SLURM_CPUS_PER_TASK") or environ.get("SLURM_CPUS_ON_NODE") or ""
    return int(text) if text.isdecimal() else None


def _slurm_memory_gb(environ: Mapping[str, str]) -> list[float]:
    """Memory of a task; empty outside of a job, and where it has all of the node."""
    per_node, per_cpu = environ.get("SLURM_MEM_PER_NODE", ""), environ.get("SLURM_MEM_PER_CPU", "")
    # Slurm counts in MB; 0 means "all memory of the node".
    if per_node.isdecimal() and int(per_node) > 0:
        return [int(per_node) / 1024]
    if per_cpu.isdecimal() and int(per_cpu) > 0:
        return [int(per_cpu) * (_slurm_cpus(environ) or 1) / 1024]
    return []


def _left_in_cgroup_gb(folder: Path) -> list[float]:
    """What a cgroup has left; empty where it sets no limit."""
    for most, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        values = _read(folder / most), _read(folder / used)
        if all(value.isdecimal() for value in values):
            # Cached files count as used but are given back when memory is asked for.
            cache = re.search(r"(?m)^(?:total_)?inactive_file (\d+)", _read(folder / "memory.stat"))
            used_bytes = int(values[1]) - (int(cache[1]) if cache else 0)
            return [max(0, int(values[0]) - used_bytes) / 1024**3]
    return []


def _machine_memory_gb(root: Path) -> float:
    match = re.search(r"MemTotal:\s+(\d+) kB", _read(root / "proc/meminfo"))
    if match:
        return int(match[1]) / 1024**2
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3


def _cgroup_folders(root: Path, controller: str) -> list[Path]:
    """Folders of the cgroups above this process (v1 and v2), the own one and its parents."""
    folders = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup"
        if controllers:
            base = base / (controllers if (base / controllers).is_dir() else controller)
        own = base / path.strip("/")
        # Inside a container the listed path may exist on the host only; the mount point still counts.
        folders += [folder for folder in (own, *own.parents) if folder.is_relative_to(base)]
    return folders


def _cpu_quota(folder: Path) -> float | None:
    """Processors that a cgroup allows, or None without a limit."""
    fields = _read(folder / "cpu.max").split()
    if len(fields) != 2:
        fields = [_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")]
    try:
        quota, period = (float(field) for field in fields)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None
