"""Measure discovery, the group level and one participant, each command in its own process.

``python tests/e2e/measure_scale.py FOLDER 100 1000 10000 > ROWS.tsv`` writes skeleton datasets into FOLDER
and prints wall time, processor time and peak memory; docs/scaling.md shows them. With ``--group-from OUT``,
the records of sub-01 in the output folder OUT are multiplied instead, and the group level runs on them.
``measure_scale.py FOLDER --participants-of BIDS_DIR BIDS_DIR`` runs the app on datasets of one participant,
with the threads that it finds, and prints what they take in time, memory and files.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nb

_ROOT = Path(__file__).resolve().parents[2]


def measure(command: list[str], folder: Path, n_threads: int | None = 1) -> tuple[float, float, float, int]:
    """Run a command and tell wall time (s), processor time (s), peak memory (MB) and exit code."""
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    environment.pop("OMP_NUM_THREADS", None)
    if n_threads is not None:
        environment["OMP_NUM_THREADS"] = str(n_threads)
    start = time.monotonic()
    with (folder / "last.log").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, child.returncode


def multiply_records(source: Path, target: Path, n_participants: int) -> None:
    """Give every participant the JSON files of sub-01; images are not read by the group level."""
    records = {path.name: path.read_text() for path in (source / "sub-01" / "anat").glob("*.json")}
    for index in range(1, n_participants + 1):
        folder = target / f"sub-{index:05d}" / "anat"
        folder.mkdir(parents=True)
        for name, text in records.items():
            (folder / name.replace("sub-01", folder.parent.name)).write_text(
                text.replace("sub-01", folder.parent.name)
            )
    (target / "dataset_description.json").write_text((source / "dataset_description.json").read_text())


def discovery_commands(folder: Path, size: int) -> dict[str, list[str]]:
    """What is measured in a skeleton dataset, which is written first."""
    bids_dir = folder / f"bids{size}"
    if not bids_dir.is_dir():
        # By another process: a child's peak memory counts from that of its parent.
        writer = [
            sys.executable,
            str(Path(__file__).parents[1] / "datasets" / "small_dataset.py"),
            str(bids_dir),
        ]
        subprocess.run([*writer, "--skeleton", "--participants", str(size)], check=True)
    app = [sys.executable, "-m", "n2a_bids", str(bids_dir), str(folder / "out"), "participant"]
    app += ["--dry-run", "-w", str(folder / "work")]
    tools = [sys.executable, "-m", "n2a_bids.cli.tools", "slurm", str(bids_dir), str(folder / "out")]
    return {
        "one participant": [*app, "--participant-label", f"{size // 2:05d}"],
        "all participants": app,
        "n2a-tools slurm": [*tools, "--job-dir", str(folder / "jobs")],
    }


def group_commands(folder: Path, size: int, source: Path) -> dict[str, list[str]]:
    """The group level, on records that are written first."""
    output_dir = folder / f"group{size}"
    if not output_dir.is_dir():
        multiply_records(source, output_dir, size)
    command = [sys.executable, "-m", "n2a_bids", str(source), str(output_dir), "group"]
    return {"group": [*command, "-w", str(folder / "work")]}


def print_participant(folder: Path, bids_dir: Path) -> None:
    """Run the app on a dataset and print a row: its images, time, memory, work directory and derivatives."""
    output_dir, work_dir = folder / f"{bids_dir.name}-out", folder / f"{bids_dir.name}-work"
    for place in (output_dir, work_dir):
        if place.exists():
            raise SystemExit(f"{place}: expected a new folder, found an old one; remove it")
    app = [sys.executable, "-m", "n2a_bids", str(bids_dir), str(output_dir), "participant", "-w"]
    wall, processor, memory, code = measure([*app, str(work_dir)], folder, n_threads=None)
    first = nb.load(min(bids_dir.rglob("*.nii.gz")))
    derivatives, derived = _size_and_count(next(output_dir.glob("sub-*/")))
    work, worked = _size_and_count(next(work_dir.glob("n2a_*/sub_*/")))
    shape = " x ".join(map(str, first.shape))
    taken = (f"{wall:.0f}", f"{processor:.0f}", f"{memory:.0f}", f"{work:.1f}", worked)
    print(bids_dir.name, shape, *taken, f"{derivatives:.1f}", derived, code, sep="\t", flush=True)


def _size_and_count(folder: Path) -> tuple[float, int]:
    """Of the files below a folder: MB on disk, and how many there are."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(sizes) / 1e6, len(sizes)


def main() -> None:
    """Write datasets, run the commands, print rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", type=int, nargs="*")
    parser.add_argument("--group-from", type=Path, metavar="OUT", help="measure the group level instead")
    parser.add_argument("--participants-of", type=Path, nargs="+", metavar="BIDS_DIR")
    args = parser.parse_args()
    if args.participants_of:
        print("dataset", "shape", "wall_s", "processor_s", "memory_mb", end="\t", sep="\t")
        print("work_mb", "work_files", "derivatives_mb", "derivative_files", "exit_code", sep="\t")
        for bids_dir in args.participants_of:
            print_participant(args.folder, bids_dir.resolve())
        return
    print("participants", "command", "wall_s", "processor_s", "memory_mb", "exit_code", sep="\t")
    for size in args.sizes:
        if args.group_from is None:
            commands = discovery_commands(args.folder, size)
        else:
            commands = group_commands(args.folder, size, args.group_from)
        for name, command in commands.items():
            wall, processor, memory, code = measure(command, args.folder)
            print(size, name, f"{wall:.1f}", f"{processor:.2f}", f"{memory:.0f}", code, sep="\t", flush=True)


if __name__ == "__main__":
    main()
