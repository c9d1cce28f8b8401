"""``n2a-tools doctor``: checks of GPU, driver and architecture, in a child process."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from n2a_bids.tools.doctor.checks import Finding, ask_child, read_text

_GPU_PROBE_LIMIT_S = 300

_OLDEST_DRIVER = {"11": "450.80.02", "12": "525.60.13", "13": "580.65.06"}
"""By major version of CUDA, for Linux (CUDA Compatibility, NVIDIA)."""

_GPU_PROBE = """
import json, torch
print("FOUND " + json.dumps({"built_for": torch.version.cuda or torch.version.hip}), flush=True)
found = {"architectures": torch.cuda.get_arch_list(), "devices": []}
for index in range(torch.cuda.device_count()):
    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    matrix = torch.ones(1024, 1024, device=f"cuda:{index}")
    correct = (matrix @ matrix).sum().item() == 1024.0**3
    found["devices"].append({"name": properties.name, "capability": [properties.major, properties.minor],
        "free_gb": round(free / 2**30, 1), "total_gb": round(total / 2**30, 1), "product_correct": correct})
print("FOUND " + json.dumps(found))
"""


def check_gpu() -> list[Finding]:
    """GPUs, driver and whether this torch has code for them, found out in a child process."""
    driver = re.search(r"Kernel Module.*?(\d+\.\d+[.\d]*)", read_text(Path("/proc/driver/nvidia/version")))
    return gpu_findings(
        driver[1] if driver else "", ask_child(["-c", _GPU_PROBE], _GPU_PROBE_LIMIT_S, "devices")
    )


def gpu_findings(driver: str, found: Mapping[str, Any]) -> list[Finding]:
    """Judge what was found out about the GPUs.

    Parameters
    ----------
    driver : str
        Version of NVIDIA's driver, empty where there is none.
    found : mapping
        ``built_for`` (CUDA version of torch, None without), and either ``architectures`` and ``devices``, or
        ``failure``, the last words of the process that looked.
    """
    built_for = found.get("built_for")
    too_old = driver_problem(driver, built_for)
    findings = [Finding("driver", driver, too_old)] if driver else []
    findings.append(Finding("torch is built for", f"CUDA {built_for}" if built_for else "CPU only"))
    if "failure" in found:
        return [*findings, Finding("GPU", "failed", f"the GPU could not be used: {found['failure']}")]
    if not found["devices"]:
        problem = ""
        if driver and not built_for:
            problem = (
                "the machine has an NVIDIA driver but this torch is for the CPU only: use the CUDA image"
            )
        elif driver and not too_old:
            problem = (
                "the machine has an NVIDIA driver but torch sees no GPU: start the container with --gpus all "
                "(Docker) or --nv (Apptainer), ask Slurm for --gres=gpu:1, and look at CUDA_VISIBLE_DEVICES"
            )
        return [*findings, Finding("GPU", "none; the app will use the CPU", problem)]
    for index, device in enumerate(found["devices"]):
        problem = architecture_problem(device["capability"], found["architectures"])
        if not problem and not device["product_correct"]:
            problem = "a matrix product came out wrong: the GPU or its memory is faulty"
        major, minor = device["capability"]
        value = f"{device['name']}, sm_{major}{minor}, {device['free_gb']} of {device['total_gb']} GB free"
        findings.append(Finding(f"GPU {index}", value, problem))
    return findings


def driver_problem(driver: str, built_for: str | None) -> str:
    """Say when a driver is too old for the CUDA version of torch; empty when it fits.

    Parameters
    ----------
    driver : str
        Version of NVIDIA's driver, empty where there is none.
    built_for : str or None
        CUDA version torch was built for, None without.

    Returns
    -------
    problem : str
        Sentence with a remedy, or empty.

    Examples
    --------
    >>> driver_problem("535.54.03", "12.6")
    ''
    >>> driver_problem("470.57.02", "12.6")[:66]
    'the driver 470.57.02 is too old for CUDA 12.6, which needs 525.60.'
    """
    oldest = _OLDEST_DRIVER.get((built_for or "").split(".")[0])
    if not driver or oldest is None or _numbers(driver) >= _numbers(oldest):
        return ""
    return (
        f"the driver {driver} is too old for CUDA {built_for}, which needs {oldest} or newer: update the "
        "driver, take an image built for an older CUDA, or run with --device cpu"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def architecture_problem(capability: Sequence[int], architectures: Sequence[str]) -> str:
    """Say why a torch build has no code for a GPU; empty when it has.

    Parameters
    ----------
    capability : (int, int)
        Compute capability of the GPU, major and minor.
    architectures : sequence of str
        What torch was compiled for: ``sm_80`` is machine code, good for the same
        major version from that minor version on; ``compute_90`` is portable code,
        good for everything from there on.

    Returns
    -------
    problem : str
        Sentence with a remedy, or empty.

    Examples
    --------
    >>> architecture_problem((8, 6), ["sm_80", "sm_90"])
    ''
    >>> architecture_problem((6, 1), ["sm_80", "sm_90"])[:44]
    'this torch has no code for the GPU (sm_61); '
    """
    major, minor = capability
    for architecture in architectures:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", architecture)
        if match is None:
            continue
        built = int(match[2]), int(match[3])
        same_major = match[1] == "sm" and built[0] == major and built[1] <= minor
        portable = match[1] == "compute" and built <= (major, minor)
        if same_major or portable:
            return ""
    return (
        f"this torch has no code for the GPU (sm_{major}{minor}); it was built for "
        f"{', '.join(architectures)}: take an image built for another CUDA version, or run with --device cpu"
    )
