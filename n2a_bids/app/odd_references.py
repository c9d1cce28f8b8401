"""Runs a unit again without a reference that fits none of the other repetitions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from n2a_bids.app.log import run_record
from n2a_bids.app.work import ParticipantWork
from n2a_bids.config import Config
from n2a_bids.dataset.grouping.sound_groups import regroup_sound_images
from n2a_bids.dataset.units import Collection, DenoisingUnit
from n2a_bids.io.json import read_typed
from n2a_bids.record.alignment import ODD_REFERENCE_FILE, OddReference
from n2a_bids.reports.records.crashes import Crash, find_crashes


def without_odd_references(item: ParticipantWork, config: Config) -> ParticipantWork | None:
    """What is left to denoise after a run in which references fitted none of their repetitions.

    Parameters
    ----------
    item : ParticipantWork
        What was to be denoised.
    config : Config
        Of the run that has ended.

    Returns
    -------
    left : ParticipantWork or None
        All units, those without their reference that failed for it; None where none failed so. The crash
        files of these failures are deleted: what they tell is the reason why the image is left out.
    """
    found = {
        record.file: (record, crash)
        for crash in find_crashes(run_record(item.label, config).parent)
        for record in _records(crash)
    }
    odd = {
        image.path: found[image.path.name]
        for unit in item.units
        if len(unit.images) > 2
        for image in unit.images
        if image.path.name in found
    }
    if not odd:
        return None
    reasons = {path: record.reason for path, (record, _) in odd.items()}
    left = [_without(unit, reasons, config) for unit in item.units]
    for _, crash in odd.values():
        crash.path.unlink(missing_ok=True)
    return replace(
        item,
        units=tuple(unit for found in left for unit in found.units),
        excluded=(*item.excluded, *(one for found in left for one in found.excluded)),
    )


def _without(unit: DenoisingUnit, reasons: dict[Path, str], config: Config) -> Collection:
    """A unit without the images that have a reason against them: what they are is told with it."""
    notes = [
        f"{one.path.name} was left out: {reasons[one.path]}" for one in unit.images if one.path in reasons
    ]
    if not notes:
        return Collection((unit,))
    left = regroup_sound_images(
        [unit], config.selection, lambda image: reasons.get(image.path, ""), lambda image: None
    )
    return Collection(
        tuple(replace(one, notes=(*one.notes, *notes)) for one in left.units),
        tuple(replace(one, is_error=False) for one in left.excluded),
    )


def _records(crash: Crash) -> Iterable[OddReference]:
    """What a step that failed has left on its reference."""
    path = Path(crash.directory) / ODD_REFERENCE_FILE
    return [read_typed(OddReference, path)] if crash.directory and path.is_file() else []
