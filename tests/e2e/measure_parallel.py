"""Start many participant jobs at once on one output folder and one work directory, and check what they leave.

``python tests/e2e/measure_parallel.py FOLDER`` starts 16 real processes, a participant each, and compares
their output with that of one process that did all participants by itself: the same files, the same images
voxel by voxel, the same shared files, nothing unfinished. It ends with 1 when something differs;
docs/scaling.md tells what it printed.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nb
import numpy as np

_ROOT = Path(__file__).resolve().parents[2]
_SHARED = ("dataset_description.json", "descriptions.tsv", ".bidsignore", "README.md")


def app(folder: Path, output: str, *options: str) -> list[str]:
    """The command line of a run of the app in `folder`."""
    places = [str(folder / "bids"), str(folder / output), "participant", "-w", str(folder / f"work-{output}")]
    cheap = ["--strategy", "mean", "--sloppy", "--nprocs", "1", "--omp-nthreads", "1", "--device", "cpu"]
    masks = ["-d", f"masks={folder / 'masks'}"]
    return [sys.executable, "-m", "n2a_bids", *places, *cheap, *masks, *options]


def run_at_once(commands: list[list[str]], folder: Path) -> list[int]:
    """Start all commands together; their exit codes."""
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    children = []
    for index, command in enumerate(commands):
        with (folder / f"job-{index}.log").open("w") as log:
            children.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
    return [child.wait() for child in children]


def contents(output_dir: Path) -> list[Path]:
    """All files, without the folders of single runs and their settings."""
    files = (path.relative_to(output_dir) for path in output_dir.rglob("*") if path.is_file())
    return sorted(path for path in files if "log" not in path.parts)


def differences(together: Path, alone: Path) -> list[str]:
    """What the output of many processes has that one process did not leave, or the other way round."""
    found = [f"only in one: {path}" for path in sorted({*contents(together)} ^ {*contents(alone)})]
    found += [f"unfinished: {path}" for path in together.rglob(".*") if path.name not in _SHARED]
    found += [
        f"differs: {name}"
        for name in _SHARED
        if not (together / name).is_file() or (together / name).read_bytes() != (alone / name).read_bytes()
    ]
    for path in alone.rglob("*.nii.gz"):
        other = together / path.relative_to(alone)
        if other.is_file() and not np.array_equal(nb.load(path).get_fdata(), nb.load(other).get_fdata()):
            found.append(f"differs: {path.relative_to(alone)}")
    return found


def main() -> int:
    """Write a dataset, run both ways, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="new folder")
    parser.add_argument("--processes", type=int, default=16, metavar="N")
    args = parser.parse_args()
    folder = args.folder.absolute()
    writer = [
        sys.executable,
        str(Path(__file__).parents[1] / "datasets" / "small_dataset.py"),
        str(folder / "bids"),
    ]
    writer += ["--participants", str(args.processes), "--masks-dir", str(folder / "masks")]
    subprocess.run(writer, check=True)
    labels = [f"{index:02d}" for index in range(1, args.processes + 1)]
    start = time.monotonic()
    codes = run_at_once([app(folder, "together", "--participant-label", label) for label in labels], folder)
    wall = time.monotonic() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{args.processes} processes at once: exit codes {sorted(set(codes))}, {wall:.0f} s of wall time, "
        f"{used.ru_utime + used.ru_stime:.0f} s of processor time, "
        f"{used.ru_maxrss / 1024:.0f} MB at most in one",
        flush=True,
    )
    codes += run_at_once([app(folder, "alone")], folder)
    problems = differences(folder / "together", folder / "alone")
    problems += [f"exit code {code}" for code in codes if code]
    n_files = len(contents(folder / "together"))
    print("\n".join(problems) or f"{n_files} files, the same as one process leaves for all of them")
    return int(bool(problems))


if __name__ == "__main__":
    raise SystemExit(main())
