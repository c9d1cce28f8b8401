"""Runs a unit again without repetitions for which it failed: a reference that fits none, a partial series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from n2a_bids.app.batch import run_batch
from n2a_bids.app.log import run_record
from n2a_bids.app.progress.header import progress_of
from n2a_bids.app.progress.lines import RunProgress
from n2a_bids.app.work import ParticipantWork
from n2a_bids.config import Config
from n2a_bids.dataset.collect import leave_out_unsuitable
from n2a_bids.dataset.grouping.sound_groups import regroup_sound_images
from n2a_bids.dataset.units import Collection, DenoisingUnit
from n2a_bids.interfaces.odd_repetitions import read_odd_repetitions
from n2a_bids.reports.records.crashes import find_crashes
from n2a_bids.system.signals import Interruption


def run_without_odd_repetitions(
    batch: Sequence[ParticipantWork], config: Config, interruption: Interruption, progress: RunProgress
) -> tuple[list[ParticipantWork], dict[str, list[str]]]:
    """Denoise some participants, again without repetitions for which a group failed.

    Returns
    -------
    batch : list of ParticipantWork
        What was denoised at last.
    failures : dict
        As of `run_batch`.
    """

    def run(work: Sequence[ParticipantWork]) -> dict[str, list[str]]:
        return run_batch(work, config, interruption, progress_of(work, config, progress))

    failures = run(batch) if batch else {}
    done, waiting = {item.label: item for item in batch}, list(batch)
    # Each round leaves an image out, so that there is a last one.
    while waiting := [left for item in waiting if (left := without_odd_repetitions(item, config))]:
        done |= {item.label: item for item in waiting}
        failures |= run(waiting)
    return list(done.values()), failures


def without_odd_repetitions(item: ParticipantWork, config: Config) -> ParticipantWork | None:
    """What is left to denoise after a run in which repetitions were found that must be left out.

    Parameters
    ----------
    item : ParticipantWork
        What was to be denoised.
    config : Config
        Of the run that has ended.

    Returns
    -------
    left : ParticipantWork or None
        All units, those that failed so without these repetitions; None where none failed so, or nothing would
        be left that the options allow to denoise. The crash files of these failures are deleted: what they
        tell is the reason why an image is left out.
    """
    found = {
        name: (reason, crash)
        for crash in find_crashes(run_record(item.label, config).parent)
        if crash.directory
        for name, reason in read_odd_repetitions(Path(crash.directory)).items()
    }
    units: list[DenoisingUnit] = []
    excluded = list(item.excluded)
    told: set[Path] = set()
    for unit in item.units:
        odd = [image.path for image in unit.images if image.path.name in found]
        left = _without(unit, {path: found[path.name][0] for path in odd}, config)
        if not odd or not left.units:
            units.append(unit)
            continue
        units += left.units
        excluded += left.excluded
        told |= {found[path.name][1].path for path in odd}
    for path in told:
        path.unlink(missing_ok=True)
    return replace(item, units=tuple(units), excluded=tuple(excluded)) if told else None


def _without(unit: DenoisingUnit, reasons: Mapping[Path, str], config: Config) -> Collection:
    """A unit without the images that have a reason against them: what they are is told with it."""
    notes = [f"{path.name} was left out: {reason}" for path, reason in reasons.items()]
    if not notes:
        return Collection((unit,))
    left = regroup_sound_images(
        [unit], config.selection, lambda image: reasons.get(image.path, ""), lambda image: None
    )
    left = leave_out_unsuitable(left, config.denoise.strategy)
    return Collection(
        tuple(replace(one, notes=(*one.notes, *notes)) for one in left.units),
        tuple(replace(one, is_error=False) for one in left.excluded),
    )
