"""``n2a-tools doctor``: what to look at when something is wrong, and to paste into an issue."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from n2a_bids.commands.doctor_checks import (
    Finding,
    check_places,
    check_processors,
    check_versions,
    check_weights,
)
from n2a_bids.commands.doctor_trials import check_fine_tune, check_gpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``n2a-tools doctor``."""
    parser.add_argument(
        "-w",
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="work directory of the run that fails: is it writable?",
    )
    parser.add_argument("--json", action="store_true", help="write JSON instead of text")
    parser.add_argument("--quick", action="store_true", help="leave out the trial training")


def run(args: argparse.Namespace) -> int:
    """Examine the installation and the machine, and write the findings to standard output.

    Parameters
    ----------
    args : Namespace
        ``work_dir``, ``json`` and ``quick``.

    Returns
    -------
    status : int
        0 when nothing is wrong, 1 otherwise.
    """
    report = examine(args.work_dir, quick=args.quick)
    sys.stdout.write(format_json(report) if args.json else format_text(report))
    return int(any(finding.problem for findings in report.values() for finding in findings))


def examine(work_dir: Path | None = None, *, quick: bool = False) -> dict[str, list[Finding]]:
    """Collect the findings of every section.

    Parameters
    ----------
    work_dir : Path or None
        Folder that must be writable.
    quick : bool
        Leave out the trial training.

    Returns
    -------
    report : dict
        Section name -> findings.
    """
    report = {
        "versions": check_versions(),
        "machine": check_processors(),
        "places": check_places(work_dir),
        "weights": check_weights(),
        "GPU": check_gpu(),
    }
    if quick:
        return report
    devices = ["cpu"]
    if any(finding.name == "GPU 0" and not finding.problem for finding in report["GPU"]):
        devices.append("cuda")
    report["trial"] = [check_fine_tune(device) for device in devices]
    return report


def format_text(report: Mapping[str, Sequence[Finding]]) -> str:
    """Lay the findings out for reading, problems last.

    Examples
    --------
    >>> print(format_text({"places": [Finding("work", "/w: not writable", "/w cannot be written")]}))
    places
      work                  /w: not writable
    <BLANKLINE>
    1 problem
      * /w cannot be written
    <BLANKLINE>
    """
    lines = []
    for section, findings in report.items():
        lines += [section, *(f"  {finding.name:<20}  {finding.value}" for finding in findings), ""]
    problems = [finding.problem for findings in report.values() for finding in findings if finding.problem]
    lines.append(
        "no problem found" if not problems else f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    )
    lines += [f"  * {problem}" for problem in problems]
    return "\n".join(lines) + "\n"


def format_json(report: Mapping[str, Sequence[Finding]]) -> str:
    """Give the findings as JSON: section -> name -> value, and the list of problems."""
    document: dict[str, object] = {
        section: {finding.name: finding.value for finding in findings} for section, findings in report.items()
    }
    document["problems"] = [
        finding.problem for findings in report.values() for finding in findings if finding.problem
    ]
    return json.dumps(document, indent=2) + "\n"
