"""Measure discovery in datasets of growing size, each command in a process of its own.

``python tests/e2e/measure_scale.py FOLDER 100 1000 10000`` writes skeleton datasets into FOLDER and prints a
table of wall time, processor time and peak memory; docs/scaling.md shows one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def measure(command: list[str], folder: Path) -> tuple[float, float, float, int]:
    """Run a command and tell wall time (s), processor time (s), peak memory (MB) and exit code."""
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    start = time.monotonic()
    with (folder / "last.log").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, child.returncode


def main() -> None:
    """Write datasets, run the commands, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", type=int, nargs="+")
    args = parser.parse_args()
    print("| participants | command | wall, s | processor, s | memory, MB |\n|---|---|---|---|---|")
    for size in args.sizes:
        bids_dir = args.folder / f"bids{size}"
        if not bids_dir.is_dir():
            # By another process: a child's peak memory counts from that of its parent.
            writer = [sys.executable, str(Path(__file__).with_name("small_dataset.py")), str(bids_dir)]
            subprocess.run([*writer, "--skeleton", "--participants", str(size)], check=True)
        app = [sys.executable, "-m", "n2a_bids", str(bids_dir), str(args.folder / "out"), "participant"]
        app += ["--dry-run", "-w", str(args.folder / "work")]
        tools = [sys.executable, "-m", "n2a_bids.cli.tools", "slurm", str(bids_dir), str(args.folder / "out")]
        commands = {
            "one participant": [*app, "--participant-label", f"{size // 2:05d}"],
            "all participants": app,
            "n2a-tools slurm": [*tools, "--job-dir", str(args.folder / "jobs")],
        }
        for name, command in commands.items():
            wall, processor, memory, code = measure(command, args.folder)
            failed = f" (exit code {code})" if code else ""
            print(f"| {size} | {name}{failed} | {wall:.1f} | {processor:.2f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
