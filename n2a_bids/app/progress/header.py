"""The header printed when a run begins: what it is going to do, and how long that should take."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from n2a_bids import __version__
from n2a_bids.app.batch import n_side_by_side
from n2a_bids.app.log import run_log
from n2a_bids.app.progress.expected_time import about, plan_unit
from n2a_bids.app.progress.lines import RunProgress
from n2a_bids.app.work import ParticipantWork
from n2a_bids.config import Config
from n2a_bids.dataset.units import DenoisingUnit
from n2a_bids.enumeration import counted


def begin_run(work: Sequence[ParticipantWork], config: Config) -> RunProgress:
    """Tell what will run, and count it from now on."""
    n_at_once = n_side_by_side(config.resources)
    progress = plan_run(work, config, n_at_once)
    if work:
        # Where standard error is lost, as the lines of the run are: see `RunProgress`.
        with suppress(OSError):
            sys.stderr.write(f"{header(work, config, n_at_once, progress.seconds_left())}\n")
    return progress


def progress_of(work: Sequence[ParticipantWork], config: Config, planned: RunProgress) -> RunProgress:
    """Progress that knows all units of some participants: what is left of a group may have a name of its own.

    Parameters
    ----------
    work : sequence of ParticipantWork
        What is about to run.
    planned : RunProgress
        Of the whole run, which is returned where it knows them all.
    """
    names = [unit.workflow_name for item in work for unit in item.units]
    known = all(planned.knows(name) for name in names)
    return planned if known else plan_run(work, config, n_side_by_side(config.resources))


def plan_run(work: Sequence[ParticipantWork], config: Config, n_side_by_side: int) -> RunProgress:
    """Plan a run.

    Parameters
    ----------
    work : sequence of ParticipantWork
        With at least one unit each.
    n_side_by_side : int
        Participants that run at the same time.

    Returns
    -------
    progress : RunProgress
        Its lines go to standard error and into the log of each participant.
    """
    plans, logs = {}, {}
    for index, item in enumerate(work, start=1):
        of_all = f" ({index}/{len(work)})" if len(work) > 1 else ""
        for unit in item.units:
            where = f"sub-{item.label}{of_all} {_unit_words(unit)}"
            plans[unit.workflow_name] = (where, plan_unit(unit, config))
            logs[unit.workflow_name] = run_log(item.label, config)
    return RunProgress(plans, n_side_by_side, logs=logs)


def header(work: Sequence[ParticipantWork], config: Config, n_side_by_side: int, left_s: float | None) -> str:
    """What will run, on what, and how long that should take, in a few lines."""
    units = [unit for item in work for unit in item.units]
    kinds = [_unit_words(unit, with_entities=False) for unit in units]
    of_kinds = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    resources = config.resources
    at_once = min(n_side_by_side, len(work))
    lines = [
        f"n2a {__version__}: {counted(len(work), 'participant')}, "
        f"{counted(len(units), 'group')} to denoise ({of_kinds})",
        f"  strategy {config.denoise.strategy}, recipe {config.denoise.recipe}, device "
        f"{config.denoise.device}; {counted(at_once, 'participant')} at a time, "
        f"{counted(resources.omp_nthreads, 'thread')} a step, {resources.memory_gb:.3g} GB",
        f"  outputs in {config.output_dir}, intermediate files in {config.work_dir}",
    ]
    if left_s is not None:
        lines.append(f"  should take {about(left_s)}; steps that an earlier run has done are taken from it")
    return "\n".join(lines)


def _unit_words(unit: DenoisingUnit, with_entities: bool = True) -> str:
    kept = {key: value for key, value in unit.entities.items() if key != "sub"} if with_entities else {}
    return " ".join([*(f"{key}-{value}" for key, value in kept.items()), unit.suffix])
