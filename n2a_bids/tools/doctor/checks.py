"""``n2a-tools doctor``: checks of versions, weights, container, processors and folders."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import n2a_bids
from n2a_bids.errors import DenoisingError
from n2a_bids.io.weights import PACKAGED, load_weights
from n2a_bids.record.typed_json import JsonObject
from n2a_bids.system.environment import named_weights_dir
from n2a_bids.system.packages import package_version
from n2a_bids.system.resources import available_cpus, available_memory_gb, free_memory_gb

_PACKAGES = (
    "torch", "numpy", "scipy", "nibabel", "nipype", "pybids", "antspyx", "dipy", "deepbet",
    "matplotlib",
)  # fmt: skip


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
        version = package_version(package)
        problem = "" if version else f"{package} is not installed; reinstall n2a_bids"
        findings.append(Finding(package, version or "missing", problem))
    return findings


def check_weights(environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """Pretrained weights, each checked against the checksum of its model card."""
    named = named_weights_dir(environ)
    folder = named or PACKAGED
    findings = [Finding("folder", str(folder))]
    for path in sorted(folder.glob("*.safetensors")):
        try:
            weights = load_weights(path.stem, folder)
        except DenoisingError as error:
            findings.append(Finding(path.stem, "damaged", str(error)))
        else:
            findings.append(Finding(path.stem, f"SHA-256 {weights.sha256}, as in the model card"))
    if len(findings) == 1:
        problem = f"{folder} holds no weights; correct N2A_WEIGHTS_DIR" if named else ""
        findings.append(Finding("weights", "none; training starts from scratch", problem))
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
    cpuinfo, meminfo = read_text(root / "proc/cpuinfo"), read_text(root / "proc/meminfo")
    model = re.search(r"model name\s*:\s*(.+)", cpuinfo)
    n_cpus, allowed_gb = available_cpus(root, environ), available_memory_gb(root, environ)
    findings = [
        Finding("processor", model[1] if model else platform.machine()),
        Finding("processors", f"{n_cpus} usable of {os.cpu_count()}"),
    ]
    total = re.search(r"MemTotal:\s+(\d+) kB", meminfo)
    machine = f"{int(total[1]) / 2**20:.1f} GB" if total else "unknown"
    free_gb = free_memory_gb(root, environ)
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
    checked = [
        ("temporary", Path(tempfile.gettempdir()), True),
        ("work", work_dir or Path.cwd(), work_dir is not None),
    ]
    if environ.get("HOME"):
        checked.append(("home", Path(environ["HOME"]), False))
    for name, folder, needed in checked:
        existing = next(
            parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists()
        )
        reason = _why_not_writable(existing)
        if not reason:
            disk = os.statvfs(existing)
            room = disk.f_bavail * disk.f_frsize / 2**30
            findings.append(Finding(name, f"{folder}: writable, {room:.1f} GB free"))
        else:
            problem = f"{folder} cannot be written ({reason}); give another one" if needed else ""
            findings.append(Finding(name, f"{folder}: not writable ({reason})", problem))
    if not environ.get("HOME"):
        findings.append(Finding("home", "HOME is not set (this is allowed)"))
    return findings


def _why_not_writable(folder: Path) -> str:
    """Empty when a file can be made in the folder."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def read_text(path: Path) -> str:
    """Content of a file, empty when it cannot be read."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def ask_child(command: Sequence[str], limit_s: float, last_key: str) -> JsonObject:
    """What a child process of Python finds out: a crash there, of a driver too, is an answer here.

    Parameters
    ----------
    command : sequence of str
        Arguments of Python. The process prints ``FOUND`` and a JSON object in a line, once or more.
    limit_s : float
        After which it is stopped.
    last_key : str
        Key that it finds last.

    Returns
    -------
    found : dict
        All that it found; with its last words as ``failure`` where it did not get to that.
    """
    try:
        child = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failure": f"it gave no answer within {limit_s:g} s"}
    found: JsonObject = {}
    for line in child.stdout.splitlines():
        if line.startswith("FOUND "):
            found |= json.loads(line[6:])
    if last_key not in found:
        found["failure"] = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
    return found
