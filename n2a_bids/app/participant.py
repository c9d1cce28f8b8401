"""Level ``n2a ... participant``: finds the groups of images, denoises, reports, tells the outcome."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from n2a_bids.app.messages import crash_sentences, error_sentence, explain, warn
from n2a_bids.app.outcomes import Outcome, exit_status, format_outcomes, list_reports
from n2a_bids.app.selection_doubts import selection_doubts
from n2a_bids.app.work import (
    ParticipantWork,
    find_work,
    label_of,
    missing_weights,
    provide_named_templates,
    write_methods_text,
)
from n2a_bids.app.work_dir import work_dir_of
from n2a_bids.config import Config, SelectionConfig
from n2a_bids.dataset.listing import format_collection
from n2a_bids.dataset.read.layout import read_description, select_participants, wipe_indexes
from n2a_bids.dataset.units import Collection
from n2a_bids.dataset.write.description import write_dataset_files
from n2a_bids.dataset.write.folder_checks import check_output_dir, check_raw_like_dir
from n2a_bids.dataset.write.preproc import preproc_conflict, several_sessions
from n2a_bids.errors import Interrupted
from n2a_bids.system.environment import brief_environment, prepare_environment
from n2a_bids.system.signals import Interruption

if TYPE_CHECKING:
    from n2a_bids.app.progress.lines import RunProgress

_LEAST_MEMORY_GB = 1.4
"""The app itself takes 0.3 GB and deepbet 1.0 GB, however small the images are."""


def run_participants(config: Config, interruption: Interruption) -> int:
    """Denoise every group of images of the selected participants.

    Parameters
    ----------
    config : Config
        The run.
    interruption : Interruption
        Signals that arrive.

    Returns
    -------
    status : int
        0, 1 when something failed, 70 when the selection matched no image (with ``--require-repetitions``
        also when there was nothing to denoise).

    Raises
    ------
    BIDSDataError
        If the dataset as a whole cannot be used.
    ConfigError
        If a folder cannot be written, or options do not fit.
    Interrupted, KeyboardInterrupt
        After SIGTERM, SIGHUP or Ctrl-C: what is done is kept.
    """
    # What needs no library comes first: a mistyped path or label leaves no work directory behind.
    read_description(config.bids_dir)
    select_participants(config.bids_dir, config.selection)
    check_output_dir(config.bids_dir, config.output_dir)
    check_raw_like_dir(config)
    _warn_of_little_memory(config.resources.memory_gb)
    if config.stage == "dry-run":
        with brief_environment(config):
            return _list(config)
    prepare_environment(config)
    provide_named_templates(config)
    if config.selection.wipe_database and config.selection.database_dir is not None:
        wipe_indexes(config.selection.database_dir)
    collection = find_work(config, config.selection, config.denoise.strategy)
    _warn_of_options(config, collection)
    if config.stage == "boilerplate-only":
        return _write_boilerplate(config, collection)
    for problem in write_dataset_files(
        config.output_dir, config.bids_dir, config.derivatives, work_dir=config.work_dir
    ):
        warn(problem)
    labels = _labels(collection)
    if config.stage == "reports-only":
        outcomes = [_report_again(ParticipantWork.of(label, collection), config) for label in labels]
    else:
        outcomes = _run_all(labels, collection, config, interruption)
    done = [item.participant for item in outcomes if item.status in ("denoised", "report written")]
    if done:
        write_methods_text(config, done)
    sys.stdout.write(format_outcomes(outcomes) + "\n")
    with_page = [item.participant for item in outcomes if item.participant in done or item.status == "failed"]
    sys.stdout.write(list_reports(config.output_dir, with_page))
    return exit_status(outcomes, require_repetitions=config.selection.require_repetitions)


def _list(config: Config) -> int:
    selection = config.selection
    if selection.wipe_database:
        # A listing deletes nothing: it looks at the dataset itself, past the index.
        selection = dataclasses.replace(selection, database_dir=None)
    collection = find_work(config, selection, config.denoise.strategy)
    _warn_of_options(config, collection)
    sys.stdout.write(format_collection(collection) + "\n")
    return _status_without_run(collection, selection)


def _status_without_run(collection: Collection, selection: SelectionConfig) -> int:
    """Exit code of a run that only looks: that of one which denoises all that is found, and nothing fails."""
    outcomes = [ParticipantWork.of(label, collection).outcome([]) for label in _labels(collection)]
    looked_at = [
        dataclasses.replace(item, status="nothing to do") if item.status == "failed" else item
        for item in outcomes
    ]
    return exit_status(looked_at, require_repetitions=selection.require_repetitions)


def _warn_of_little_memory(memory_gb: float) -> None:
    if memory_gb < _LEAST_MEMORY_GB:
        warn(
            f"expected about {_LEAST_MEMORY_GB} GB of memory at least, found {memory_gb:.2g} GB (--mem, or a "
            "limit of the machine): more will be taken, and the system may end the run"
        )


def _run_all(
    labels: Sequence[str], collection: Collection, config: Config, interruption: Interruption
) -> list[Outcome]:
    # Imported late: listing a dataset needs no nipype.
    from n2a_bids.app.batch import batches
    from n2a_bids.app.damaged_images import with_sound_images
    from n2a_bids.app.nipype_settings import configure_nipype
    from n2a_bids.app.progress.header import begin_run

    configure_nipype(config.debug)
    work = [ParticipantWork.of(label, collection) for label in labels]
    progress = begin_run([item for item in work if item.units], config)
    outcomes = {item.label: _left_alone(item, config) for item in work if not item.units}
    for planned in batches([item for item in work if item.units], config.resources):
        checked = with_sound_images(planned, config)
        # Time is left for what the workflows of the batch will hold, not for what was left out just now.
        progress.leave_out(unit.workflow_name for item in planned for unit in item.units)
        outcomes |= {item.label: _left_alone(item, config) for item in checked if not item.units}
        outcomes |= _run_batch([item for item in checked if item.units], config, interruption, progress)
        has_failed = any(outcomes[item.label].status == "failed" for item in checked)
        if config.debug.stop_on_first_crash and has_failed:
            break
    return [outcomes[label] for label in labels if label in outcomes]


def _run_batch(
    batch: Sequence[ParticipantWork], config: Config, interruption: Interruption, progress: RunProgress
) -> dict[str, Outcome]:
    """Denoise the participants of a batch and write their pages."""
    from n2a_bids.app.odd_repetitions import run_without_odd_repetitions

    outcomes = {}
    try:
        batch, failures = run_without_odd_repetitions(batch, config, interruption, progress)
    except (Interrupted, KeyboardInterrupt):
        # Pages of earlier runs would not say that this one began; what fails here fails silently.
        for item in batch:
            _write_reports(item.label, config)
        raise
    for item in batch:
        failures[item.label] += _write_reports(item.label, config)
        remarks = [] if failures[item.label] else result_remarks(item, config)
        outcomes[item.label] = item.outcome(failures[item.label], remarks)
        if config.outputs.clean_workdir and not failures[item.label]:
            shutil.rmtree(work_dir_of(item.label, config), ignore_errors=True)
    return outcomes


def _left_alone(item: ParticipantWork, config: Config) -> Outcome:
    """Outcome of a participant without anything to denoise: the page tells the reason for each image.

    The page of an earlier run also says so where the images of its results are gone or damaged.
    """
    from n2a_bids.app.batch import note_attempt

    try:
        is_outdated = note_attempt(item, config)
    except Exception as error:  # what an earlier run left may be broken, or not be written to
        explain(config)
        return item.outcome([f"what earlier runs left cannot be used: {type(error).__name__}: {error}"])
    is_told = is_outdated or any(one.is_selected for one in item.excluded)
    return item.outcome(_write_reports(item.label, config) if is_told else [])


def _write_reports(label: str, config: Config, run_uuid: str = "") -> list[str]:
    """Write the pages of a participant; returns what went wrong."""
    from n2a_bids.reports.pages.participant import write_participant_reports

    try:
        write_participant_reports(config.output_dir, label, run_uuid or config.run_uuid, config.outputs)
    except Exception as error:
        explain(config)
        return [f"the report could not be written: {type(error).__name__}: {error}"]
    return []


def result_remarks(work: ParticipantWork, config: Config) -> list[str]:
    """Warnings of the groups just denoised: repetitions left out, and what else the report warns of."""
    from n2a_bids.reports.records.units import find_records

    labels = {unit.label for unit in work.units}
    try:
        records = [one for one in find_records(config.output_dir, work.label) if one.label in labels]
        return [f"{record.label}: warning: {text}" for record in records for text in record.warnings]
    except Exception as error:  # the images are there all the same
        explain(config)
        return [f"warning: the records cannot be read: {type(error).__name__}: {error}"]


def _report_again(work: ParticipantWork, config: Config) -> Outcome:
    """The report of the last run, from what it left; what failed in that run has failed still."""
    logs = config.output_dir / f"sub-{work.label}" / "log"
    runs = sorted(path.name for path in logs.iterdir() if path.is_dir()) if logs.is_dir() else []
    failures = []
    if runs:
        failures = [*_write_reports(work.label, config, runs[-1]), *crash_sentences(logs / runs[-1])]
    outcome = work.outcome(failures)
    if outcome.status == "failed":
        of_run = [f"as in the run {runs[-1]}, whose report was written again:"] if runs else []
        return dataclasses.replace(outcome, details=(*of_run, *outcome.details))
    if not runs:
        return Outcome(work.label, "nothing found", ("no earlier run has left anything to report on",))
    return Outcome(work.label, "report written", (f"of the run {runs[-1]}",))


def _write_boilerplate(config: Config, collection: Collection) -> int:
    labels = sorted({unit.entities["sub"] for unit in collection.units})
    write_methods_text(config, labels, _planned_methods(labels, collection, config))
    sys.stdout.write(f"{config.output_dir / 'logs' / 'CITATION.md'}\n")
    return _status_without_run(collection, config.selection)


def _planned_methods(labels: Sequence[str], collection: Collection, config: Config) -> dict[str, str]:
    """What the workflows would do, by suffix; nothing where results tell what was done."""
    from n2a_bids.reports.records.units import find_records
    from n2a_bids.workflows.descriptions import paragraphs
    from n2a_bids.workflows.participant import describe_units

    if any(find_records(config.output_dir, label) for label in labels):
        return {}
    described: list[tuple[str, str]] = []
    for item in (ParticipantWork.of(label, collection) for label in labels):
        try:
            described += describe_units(item.label, item.units, config).items()
        except Exception as error:  # a run would fail for this participant, and denoise the others
            explain(config)
            warn(f"sub-{item.label} is left out of the methods text: {error_sentence(error)}")
    return paragraphs(described)


def _labels(collection: Collection) -> list[str]:
    of_units = {unit.entities["sub"] for unit in collection.units}
    return sorted(of_units | {label_of(item.path) for item in collection.excluded})


def _warn_of_options(config: Config, collection: Collection) -> None:
    """Say which of the images do not fit what was asked for, and which filters fit no kind of image."""
    without = [unit.label for unit in collection.units if not unit.has_regional_noise]
    if config.outputs.regions and without:
        warn(
            "--regions: nothing is measured in regions of echoes (whose noise is known as one level) and of "
            f"micrographs: {', '.join(without[:5])}{' and others' if len(without) > 5 else ''}"
        )
    told = selection_doubts(config, collection) + missing_weights(config, collection.units)
    if config.outputs.fmriprep_derivatives:
        told += [preproc_conflict(collection.units), several_sessions(collection.units, config.output_dir)]
    for sentence in filter(None, told):
        warn(sentence)
