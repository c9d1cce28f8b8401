"""``n2a-tools doctor``: runs all checks and prints the findings as text or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from n2a_bids.config.options import Option
from n2a_bids.record.typed_json import JsonObject
from n2a_bids.tools.doctor.checks import (
    Finding,
    check_places,
    check_processors,
    check_versions,
    check_weights,
)
from n2a_bids.tools.doctor.gpus import check_gpu
from n2a_bids.tools.doctor.speed import check_fine_tune


@dataclass(frozen=True, slots=True)
class DoctorConfig:
    """The command line of ``n2a-tools doctor``."""

    work_dir: Annotated[
        Path | None,
        Option(
            "work directory of the run that fails: is it writable?", flags=("-w", "--work-dir"), metavar="DIR"
        ),
    ] = None
    json: Annotated[bool, Option("write JSON instead of text")] = False
    quick: Annotated[bool, Option("leave out the trial training")] = False


def run_doctor(config: DoctorConfig) -> int:
    """Examine the installation and the machine, and write the findings to standard output.

    Returns
    -------
    status : int
        0 when nothing is wrong, 1 otherwise.
    """
    report = examine(config.work_dir, quick=config.quick)
    sys.stdout.write(format_json(report) if config.json else format_text(report))
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
    report["trial"] = [finding for device in devices for finding in check_fine_tune(device)]
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
    document: JsonObject = {
        section: {finding.name: finding.value for finding in findings} for section, findings in report.items()
    }
    document["problems"] = [
        finding.problem for findings in report.values() for finding in findings if finding.problem
    ]
    return json.dumps(document, indent=2) + "\n"
