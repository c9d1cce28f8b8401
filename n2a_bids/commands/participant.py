"""``n2a ... participant``: find the work, denoise it participant by participant, report."""

from __future__ import annotations

import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from n2a_bids.commands.environment import prepare_environment
from n2a_bids.commands.outcomes import NOTHING_TO_DO, Outcome, exit_status, format_outcomes
from n2a_bids.commands.participant_log import participant_lock, run_record, write_log
from n2a_bids.config import Config
from n2a_bids.dataset.checks import check_output_dir
from n2a_bids.dataset.collect import collect
from n2a_bids.dataset.description import write_dataset_files
from n2a_bids.dataset.listing import format_collection
from n2a_bids.dataset.units import Collection, DenoisingUnit
from n2a_bids.errors import BIDSDataError, ConfigError, DenoisingError


def run_participants(config: Config) -> int:
    """Denoise every group of images of the selected participants.

    Parameters
    ----------
    config : Config
        The run.

    Returns
    -------
    status : int
        0, 1 when something failed, 70 when there was nothing to do.

    Raises
    ------
    BIDSDataError
        If the dataset as a whole cannot be used.
    ConfigError
        If a folder cannot be written, or options do not fit.
    Interrupted
        After SIGTERM: what is done is kept.
    """
    prepare_environment(config)
    check_output_dir(config.bids_dir, config.output_dir)
    collection = collect(config.bids_dir, config.selection)
    if config.stage == "dry-run":
        sys.stdout.write(format_collection(collection) + "\n")
        return 0 if collection.units else NOTHING_TO_DO
    if config.stage == "boilerplate-only":
        return _write_boilerplate(config, collection)
    for problem in write_dataset_files(config.output_dir, config.bids_dir, config.derivatives):
        _warn(problem)
    labels = _labels(collection)
    if config.stage == "reports-only":
        outcomes = [_report_again(label, config) for label in labels]
    else:
        outcomes = _run_all(labels, collection, config)
    _write_citation(config, [outcome.participant for outcome in outcomes if outcome.status == "denoised"])
    sys.stdout.write(format_outcomes(outcomes) + "\n")
    return exit_status(outcomes)


def _run_all(labels: Sequence[str], collection: Collection, config: Config) -> list[Outcome]:
    from n2a_bids.commands.execution import configure_nipype, sigterm_interrupts

    configure_nipype(config.debug)
    outcomes: list[Outcome] = []
    with sigterm_interrupts():
        for label in labels:
            outcomes.append(run_participant(label, collection, config))
            if config.debug.stop_on_first_crash and outcomes[-1].status == "failed":
                break
    return outcomes


def run_participant(label: str, collection: Collection, config: Config) -> Outcome:
    """Denoise one participant; whatever goes wrong becomes its outcome and harms no other.

    Parameters
    ----------
    label : str
        Without ``sub-``.
    collection : Collection
        Everything found.
    config : Config

    Returns
    -------
    outcome : Outcome
    """
    units = [unit for unit in collection.units if unit.entities["sub"] == label]
    left_out = [item for item in collection.left_out if _label_of(item.path) == label]
    notes = [f"{item.path.name}: {item.reason}" for item in left_out]
    failures = [f"{item.path.name}: {item.reason}" for item in left_out if item.fault]
    if not units:
        return Outcome(label, "failed" if failures else "nothing to do", tuple(notes))
    try:
        with participant_lock(label, config):
            write_log(label, config)
            failures += _denoise(label, units, config)
    except (BIDSDataError, ConfigError, DenoisingError, OSError) as error:
        failures.append(str(error))
        _explain(config)
    except Exception as error:
        failures.append(f"{type(error).__name__}: {error}")
        _explain(config)
    done = [f"{unit.label}: {len(unit.images)} images" for unit in units]
    if failures:
        return Outcome(label, "failed", tuple(dict.fromkeys([*failures, *notes])))
    return Outcome(label, "denoised", (*done, *notes))


def _denoise(label: str, units: Sequence[DenoisingUnit], config: Config) -> list[str]:
    """Run the workflow and write the report; returns what failed, one sentence each."""
    from n2a_bids.commands.execution import run_workflow
    from n2a_bids.reports.crashes import find_crashes
    from n2a_bids.workflows.participant import init_participant_wf

    log_dir = run_record(label, config).parent
    workflow = init_participant_wf(label, units, config)
    work_dir = Path(workflow.base_dir) / workflow.name
    if config.outputs.write_graph:
        workflow.write_graph(graph2use="colored", format="svg", simple_form=True)
    failure = ""
    try:
        run_workflow(workflow, config)
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
        _explain(config)
    failures = [f"{crash.node}: {crash.message}" for crash in find_crashes(log_dir)]
    if failure and not failures:
        # Not even the crash file could be written, as on a full disk.
        failures = [failure]
    failures += _write_report(label, config)
    if config.outputs.clean_workdir and not failures:
        shutil.rmtree(work_dir, ignore_errors=True)
    return failures


def _write_report(label: str, config: Config, run_uuid: str = "") -> list[str]:
    from n2a_bids.reports.participant import write_participant_report

    try:
        write_participant_report(config.output_dir, label, run_uuid or config.run_uuid)
    except Exception as error:
        _explain(config)
        return [f"the report could not be written: {type(error).__name__}: {error}"]
    return []


def _report_again(label: str, config: Config) -> Outcome:
    """The report of an earlier run, from what it left."""
    logs = config.output_dir / f"sub-{label}" / "log"
    runs = sorted(path.name for path in logs.iterdir() if path.is_dir()) if logs.is_dir() else []
    if not runs:
        return Outcome(label, "nothing to do", ("no earlier run has left anything to report on",))
    failures = _write_report(label, config, runs[-1])
    return Outcome(label, "failed" if failures else "denoised", tuple(failures) or (f"sub-{label}.html",))


def _write_boilerplate(config: Config, collection: Collection) -> int:
    labels = sorted({unit.entities["sub"] for unit in collection.units})
    _write_citation(config, labels)
    return 0 if labels else NOTHING_TO_DO


def _write_citation(config: Config, labels: Sequence[str]) -> None:
    """Methods text; a failure is told but spoils no result."""
    from n2a_bids.reports.boilerplate import write_citation

    try:
        files = write_citation(config.output_dir, labels)
    except Exception as error:
        _warn(f"the methods text could not be written: {type(error).__name__}: {error}")
        return
    if config.outputs.md_only_boilerplate:
        for path in files:
            if path.suffix != ".md":
                path.unlink(missing_ok=True)


def _labels(collection: Collection) -> list[str]:
    of_units = {unit.entities["sub"] for unit in collection.units}
    return sorted(of_units | {_label_of(item.path) for item in collection.left_out})


def _label_of(path: Path) -> str:
    """Participant of a file, by the folder that it is in."""
    parts = (part for part in reversed(path.parts) if part.startswith("sub-"))
    folder = next((part for part in parts if "_" not in part), "sub-")
    return folder.removeprefix("sub-")


def _warn(message: str) -> None:
    sys.stderr.write(f"n2a: warning: {message}\n")


def _explain(config: Config) -> None:
    """Full traceback of the error at hand for those who ask; the debugger too."""
    if config.debug.show_traceback or config.debug.verbosity:
        traceback.print_exc()
    if config.debug.pdb and sys.stdin.isatty():
        import pdb

        pdb.post_mortem()
