"""Runs several participants side by side in one nipype workflow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from nipype import Workflow

from n2a_bids.app.execution import leave_crashes_in, run_to_the_end
from n2a_bids.app.log import participant_lock, results_lock, run_record, write_log
from n2a_bids.app.messages import crash_sentences, error_sentence, explain
from n2a_bids.app.progress.lines import RunProgress
from n2a_bids.app.work import ParticipantWork
from n2a_bids.app.work_dir import forget_moved_steps, top_name
from n2a_bids.config import Config, ResourceConfig
from n2a_bids.dataset.names import bids_uri
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import remove_leftovers
from n2a_bids.io.printable import printable
from n2a_bids.reports.records.staleness import LeftOut, write_attempt
from n2a_bids.reports.records.units import find_records
from n2a_bids.system.signals import Interruption
from n2a_bids.workflows.figures import figure_path
from n2a_bids.workflows.participant import init_participant_wf

_PARTICIPANT_MEMORY_GB = 4.0
"""What a T1w pair of 1 mm takes at the default settings, with some room."""
_LOW_MEMORY_GB = 2.0
"""What ``--low-mem`` leaves to one participant: the blocks become small enough."""
_QUEUE = 4
"""Participants in one workflow for each that runs: a slow one should not leave processors idle."""


def n_side_by_side(resources: ResourceConfig) -> int:
    """How many participants run at the same time.

    Examples
    --------
    >>> n_side_by_side(ResourceConfig(n_procs=16, omp_nthreads=4, memory_gb=64))
    4
    >>> n_side_by_side(ResourceConfig(n_procs=16, omp_nthreads=4, memory_gb=6))
    1
    """
    if not resources.run_here:
        return resources.n_procs
    by_processors = resources.n_procs // resources.omp_nthreads
    by_memory = int(resources.memory_gb // _PARTICIPANT_MEMORY_GB)
    return max(1, min(max(by_processors, resources.n_gpu_procs), by_memory))


def batches(
    work: Sequence[ParticipantWork], resources: ResourceConfig
) -> Iterator[Sequence[ParticipantWork]]:
    """Cut the work into workflows of bounded size: one participant each, where only one can run."""
    n = n_side_by_side(resources)
    size = 1 if n == 1 else _QUEUE * n
    for start in range(0, len(work), size):
        yield work[start : start + size]


def run_batch(
    batch: Sequence[ParticipantWork],
    config: Config,
    interruption: Interruption,
    progress: RunProgress | None = None,
) -> dict[str, list[str]]:
    """Denoise some participants; whatever goes wrong with one harms no other.

    Parameters
    ----------
    batch : sequence of ParticipantWork
        Each with at least one unit.
    interruption : Interruption
        Signals that arrive.
    progress : RunProgress, optional
        Told of every step.

    Returns
    -------
    failures : dict
        For each label what went wrong, one sentence each; empty when nothing did.
    """
    failures: dict[str, list[str]] = {item.label: [] for item in batch}
    resources = dataclasses.replace(config.resources, memory_gb=_share_gb(config.resources, len(batch)))
    workflow = Workflow(top_name(), base_dir=str(config.work_dir))
    built = []
    with ExitStack() as locks:
        for item in batch:
            try:
                # First that of the results: another work directory alone would not help.
                locks.enter_context(results_lock(item.label, config))
                locks.enter_context(participant_lock(item.label, config))
                _begin(item, config)
                workflow.add_nodes([_participant_wf(item, dataclasses.replace(config, resources=resources))])
                built.append(item)
            except Exception as error:
                failures[item.label].append(error_sentence(error))
                explain(config)
        if progress is not None:
            progress.expect(f"{workflow.name}.{name}" for name in workflow.list_node_names())
        stopped_by = run_to_the_end(workflow, config, interruption, progress) if built else ""
    for item in built:
        failures[item.label] += crash_sentences(run_record(item.label, config).parent)
    if stopped_by and not any(failures[item.label] for item in built):
        # Not even a crash file could be written, as on a full disk: nobody's results are sure.
        for item in built:
            failures[item.label].append(stopped_by)
    return failures


def _share_gb(resources: ResourceConfig, n_participants: int) -> float:
    """Memory for one participant."""
    share = resources.memory_gb / min(n_side_by_side(resources), n_participants)
    return min(share, _LOW_MEMORY_GB) if resources.low_mem else share


def note_attempt(item: ParticipantWork, config: Config) -> bool:
    """Leave the list of units of this run, by which the reports know results that it did not replace.

    Returns
    -------
    has_outdated : bool
        Whether images are gone, or broken, that an earlier run denoised.
    """
    try:
        records = find_records(config.output_dir, item.label)
    except BIDSDataError:
        # This run may repair it; otherwise the report says what is wrong.
        records = []
    sources = {unit.label: unit.denoising.sources or () for unit in records if unit.denoising}
    broken = {bids_uri(one.path, {"raw": config.bids_dir}) for one in item.excluded if one.is_error}
    # What would have been denoised again, had its images been sound.
    spoiled = {label for label, uris in sources.items() if broken.intersection(map(str, uris))}
    labels = spoiled.union(unit.label for unit in item.units)
    folder = run_record(item.label, config).parent
    left_out = [
        LeftOut(_path_in(one.path, config.bids_dir), one.reason, one.is_error)
        for one in item.excluded
        if one.is_selected
    ]
    looked_at = [_path_in(path, config.bids_dir) for path in item.looked_at]
    images = {
        unit.label: [_path_in(path, config.bids_dir) for image in unit.images for path in image.files]
        for unit in item.units
    }
    gone = write_attempt(folder, config.bids_dir, labels, sources, left_out, looked_at, images)
    return bool(gone or spoiled)


def _forget_viewer(item: ParticipantWork, config: Config) -> None:
    """Delete what a viewer would show of earlier results of these units: it may be the whole head."""
    for unit in item.units:
        figure_path(config.output_dir, unit.entities, unit.suffix, "viewer").unlink(missing_ok=True)


def _path_in(path: Path, bids_dir: Path) -> str:
    """Printable, from the root of the dataset."""
    return printable(path.relative_to(bids_dir) if path.is_relative_to(bids_dir) else path)


def _begin(item: ParticipantWork, config: Config) -> None:
    """Leave nothing of a run that was broken off, and a trace of this one."""
    remove_leftovers(config.output_dir / f"sub-{item.label}")
    forget_moved_steps(item.label, config)
    write_log(item.label, config)
    note_attempt(item, config)
    if not config.outputs.viewer_head:
        _forget_viewer(item, config)


def _participant_wf(item: ParticipantWork, config: Config) -> Workflow:
    workflow = init_participant_wf(item.label, item.units, item.settings(config))
    if config.outputs.write_graph:
        workflow.base_dir = str(config.work_dir / top_name())
        # Without Graphviz there is still the .dot file.
        with suppress(OSError):
            workflow.write_graph(graph2use="colored", format="svg", simple_form=True)
    leave_crashes_in(workflow, run_record(item.label, config).parent)
    return workflow
