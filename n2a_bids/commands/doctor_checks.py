"""What ``n2a-tools doctor`` looks at: one function per section, each gives findings."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import n2a_bids
from n2a_bids.resources import available_cpus, available_memory_gb

_PACKAGES = (
    "torch", "numpy", "scipy", "nibabel", "nipype", "niworkflows", "nireports", "pybids", "matplotlib",
    "deepbet",
)  # fmt: skip
_FINE_TUNE_LIMIT_S = 900

_GPU_PROBE = """
import json, time, torch
found = {"built_for": torch.version.cuda or torch.version.hip, "architectures": torch.cuda.get_arch_list(),
         "devices": []}
for index in range(torch.cuda.device_count()):
    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    matrix = torch.ones(1024, 1024, device=f"cuda:{index}")
    start = time.perf_counter()
    correct = (matrix @ matrix).sum().item() == 1024.0**3
    found["devices"].append({"name": properties.name, "capability": [properties.major, properties.minor],
        "free_gb": round(free / 2**30, 1), "total_gb": round(total / 2**30, 1), "product_correct": correct})
print("FOUND " + json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    name: str
    value: str
    problem: str = ""
    """What is wrong and what to do; empty when all is well."""


def check_versions() -> list[Finding]:
    """Versions of the app, of Python and of what the app stands on."""
    findings = [
        Finding("n2a_bids", n2a_bids.__version__),
        Finding("Python", f"{platform.python_version()} ({sys.executable})"),
        Finding("system", f"{platform.platform()}, {' '.join(platform.libc_ver())}"),
        Finding("container", container_name()),
    ]
    for package in _PACKAGES:
        try:
            findings.append(Finding(package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(package, "missing", f"{package} is not installed; reinstall n2a_bids"))
    return findings


def container_name(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> str:
    """Name of the container engine this process runs in, ``none`` outside of one.

    Parameters
    ----------
    root : Path
        Where the marker files are looked for; another folder only in tests.
    environ : mapping
        Environment, for Apptainer's and our own variables.

    Returns
    -------
    name : str
        ``apptainer``, ``podman``, ``docker`` or ``none``, with the tag of the image where known.
    """
    if "APPTAINER_CONTAINER" in environ or "SINGULARITY_CONTAINER" in environ:
        name = "apptainer"
    elif (root / "run/.containerenv").exists():
        name = "podman"
    elif (root / ".dockerenv").exists() or "IS_DOCKER_8395080871" in environ:
        name = "docker"
    else:
        return "none"
    tag = environ.get("N2A_DOCKER_TAG", "")
    return f"{name}, image {tag}" if tag else name


def check_processors(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """Processors and memory that this process may use, against what the machine has."""
    cpuinfo, meminfo = _read(root / "proc/cpuinfo"), _read(root / "proc/meminfo")
    model = re.search(r"model name\s*:\s*(.+)", cpuinfo)
    n_cpus, allowed_gb = available_cpus(root, environ), available_memory_gb(root, environ)
    findings = [
        Finding("processor", model[1] if model else platform.machine()),
        Finding("processors", f"{n_cpus} usable of {os.cpu_count()}"),
    ]
    total, free = (re.search(rf"{key}:\s+(\d+) kB", meminfo) for key in ("MemTotal", "MemAvailable"))
    machine = f"{int(total[1]) / 2**20:.1f} GB" if total else "unknown"
    free_gb = min(allowed_gb, int(free[1]) / 2**20) if free else allowed_gb
    short = f"only {free_gb:.1f} GB of memory are free: ask for at least 4 GB" if free_gb < 2 else ""
    findings.append(
        Finding("memory", f"{free_gb:.1f} GB free, {allowed_gb:.1f} GB allowed, {machine} in all", short)
    )
    for variable in ("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_MEM_PER_NODE", "OMP_NUM_THREADS"):
        if variable in environ:
            findings.append(Finding(variable, environ[variable]))
    return findings


def check_places(work_dir: Path | None, environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """Whether the places the app writes to can be written, and how much room they have."""
    findings = []
    wanted = [
        ("temporary", Path(tempfile.gettempdir()), True),
        ("work", work_dir or Path.cwd(), work_dir is not None),
    ]
    if environ.get("HOME"):
        wanted.append(("home", Path(environ["HOME"]), False))
    for name, folder, needed in wanted:
        reason = _why_not_writable(folder)
        if not reason:
            disk = os.statvfs(folder)
            room = disk.f_bavail * disk.f_frsize / 2**30
            findings.append(Finding(name, f"{folder}: writable, {room:.1f} GB free"))
        else:
            problem = f"{folder} cannot be written ({reason}); give another one" if needed else ""
            findings.append(Finding(name, f"{folder}: not writable ({reason})", problem))
    if not environ.get("HOME"):
        findings.append(Finding("home", "HOME is not set (this is allowed)"))
    return findings


def _why_not_writable(folder: Path) -> str:
    """Empty when a file can be made in the folder, or in the nearest parent that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def check_gpu(root: Path = Path("/")) -> list[Finding]:
    """GPUs, driver and whether this torch has code for them, found out in a child process."""
    driver = re.search(r"Kernel Module.*?(\d+\.\d+[.\d]*)", _read(root / "proc/driver/nvidia/version"))
    findings = [Finding("driver", driver[1])] if driver else []
    child = subprocess.run(
        [sys.executable, "-c", _GPU_PROBE], capture_output=True, text=True, timeout=300, check=False
    )
    answers = [line[6:] for line in child.stdout.splitlines() if line.startswith("FOUND ")]
    if not answers:
        reason = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        return [*findings, Finding("GPU", "failed", f"the GPU could not be used: {reason}")]
    found = json.loads(answers[0])
    findings.append(
        Finding("torch is built for", f"CUDA {found['built_for']}" if found["built_for"] else "CPU only")
    )
    if not found["devices"]:
        problem = ""
        if driver:
            problem = (
                "the machine has an NVIDIA driver but torch sees no GPU; use the CUDA image, and start it "
                "with --gpus all (Docker) or --nv (Apptainer)"
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


def check_fine_tune(device: str, folder: Path) -> Finding:
    """Denoise two tiny simulated repetitions in a child process and time it.

    Parameters
    ----------
    device : str
        ``cpu`` or ``cuda``.
    folder : Path
        Existing folder for the images; the caller removes it.

    Returns
    -------
    finding : Finding
        Seconds taken, or the last words of the child.
    """
    runs, mask = _write_repetitions(folder)
    out_file = folder / f"{device}_denoised.nii.gz"
    command = [
        sys.executable, "-m", "n2a_bids.cli.tools", "denoise", *map(str, runs), "--mask", str(mask),
        "--out", str(out_file), "--strategy", "noise2average", "--recipe", "fast", "--device", device,
    ]  # fmt: skip
    start = time.monotonic()
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, timeout=_FINE_TUNE_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        problem = f"a 32 x 32 x 32 image was not denoised within {_FINE_TUNE_LIMIT_S} s"
        return Finding(f"fine-tune on {device}", "too slow", problem)
    seconds = time.monotonic() - start
    if child.returncode != 0:
        words = (child.stderr.strip().splitlines() or ["no message"])[-1]
        problem = f"denoising a tiny image on {device} ended with exit code {child.returncode}: {words}"
        return Finding(f"fine-tune on {device}", "failed", problem)
    figures = json.loads(out_file.with_name(out_file.name.removesuffix(".nii.gz") + ".json").read_text())
    fit = figures.get("seconds", {}).get("fit")
    detail = f", of which {fit:.1f} s of training" if fit else ""
    return Finding(f"fine-tune on {device}", f"{seconds:.1f} s for 2 x 32 x 32 x 32 voxels{detail}")


def _write_repetitions(folder: Path) -> tuple[list[Path], Path]:
    """Two noisy copies of a ball in a shell, and its mask, on a 32-voxel grid."""
    import nibabel as nib
    import numpy as np

    generator = np.random.default_rng(0)
    radius = np.linalg.norm(np.indices((32, 32, 32)) - 15.5, axis=0)
    signal = np.where(radius < 8, 100.0, np.where(radius < 13, 60.0, 5.0))
    runs = []
    for index in (1, 2):
        noisy = (signal + generator.normal(0, 6, signal.shape)).clip(0).astype(np.float32)
        runs.append(folder / f"run-{index}.nii.gz")
        nib.Nifti1Image(noisy, np.eye(4)).to_filename(runs[-1])
    mask = folder / "mask.nii.gz"
    nib.Nifti1Image((radius < 13).astype(np.uint8), np.eye(4)).to_filename(mask)
    return runs, mask


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
