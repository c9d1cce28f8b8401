"""Level ``n2a ... group``: the group table, page and methods text from results of participants."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from n2a_bids.app.work import write_methods_text
from n2a_bids.config import Config
from n2a_bids.dataset.read.layout import select_participants
from n2a_bids.dataset.write.folder_checks import check_writable
from n2a_bids.errors import DONE, FAILED, NOTHING_TO_DO, BIDSDataError, ConfigError
from n2a_bids.reports.pages.group import write_group
from n2a_bids.reports.pages.group_records import list_participants, read_group

_MULTIVERSE = (
    "; with --output-layout multiverse the folder is named after the settings: repeat the options of the "
    "participant level"
)


def run_group(config: Config) -> int:
    """Gather the records of all (selected) participants; images are not read.

    Parameters
    ----------
    config : Config
        The run.

    Returns
    -------
    status : int
        0; 1 when records of a participant could not be read (the others are in the table); 70 when no
        participant left a record, or a list of images that could not be denoised; with
        ``--require-repetitions`` also when nothing was denoised.

    Raises
    ------
    BIDSDataError
        If the output folder, or a participant that is asked for, is not there, or nothing can be written.
    ConfigError
        If there is no folder of ratings where one was named.
    """
    hint = _MULTIVERSE if config.outputs.layout == "multiverse" else ""
    if not config.output_dir.is_dir():
        raise BIDSDataError(
            f"{config.output_dir}: expected the output of the participant level, found no such folder; run "
            f"the participant level first, with the same output folder{hint}"
        )
    check_writable(config.output_dir)
    participants = _participants_of(config)
    if config.outputs.ratings_dir is not None and not config.outputs.ratings_dir.is_dir():
        raise ConfigError(
            f"--ratings-dir: expected a folder with ratings, found none at {config.outputs.ratings_dir}"
        )
    group = read_group(config.output_dir, participants, config.outputs.ratings_dir)
    group = replace(group, never_run=_never_run(config))
    for sentence in (*group.unreadable, *group.broken_ratings, *group.told_missing):
        sys.stderr.write(f"n2a: {sentence}\n")
    if gone := _gone(config, participants):
        sys.stderr.write(
            f"n2a: results of participants who are not in {config.bids_dir} (any more): {', '.join(gone)}; "
            "leave them out with --exclude-participant-label, or delete them\n"
        )
    if not group.rows:
        sys.stderr.write(f"n2a: {config.output_dir}: no records of denoised images were found{hint}\n")
        if group.unreadable:
            return FAILED
        if not group.left_out:
            return NOTHING_TO_DO
    for path in write_group(config.output_dir, group):
        sys.stdout.write(f"{path}\n")
    # Each participant job has left the text of its own participants: the last one's is not that of all.
    if group.rows:
        write_methods_text(config, list(dict.fromkeys(row.participant for row in group.rows)))
    if group.unreadable:
        return FAILED
    return NOTHING_TO_DO if config.selection.require_repetitions and not group.rows else DONE


def _participants_of(config: Config) -> list[str]:
    """Those of the output folder, or those of them that are asked for."""
    selected, excluded = config.selection.participants, config.selection.exclude_participants
    there = list_participants(config.output_dir)
    absent = [f"sub-{label}" for label in selected if label not in there]
    if absent:
        raise BIDSDataError(
            f"{config.output_dir}: expected results of {', '.join(absent)}, found none; correct "
            "--participant-label, or run the participant level first"
        )
    return [label for label in selected or there if label not in excluded]


def _never_run(config: Config) -> tuple[str, ...]:
    """Participants of the dataset for which the output has no folder; none where the dataset is not there."""
    there = list_participants(config.output_dir)
    with suppress(BIDSDataError):
        selected = select_participants(config.bids_dir, config.selection)
        return tuple(label for label in selected if label not in there)
    return ()


def _gone(config: Config, participants: Sequence[str]) -> list[str]:
    """Those of the output whom the dataset has not; nobody where it has none of them, and is another one."""
    gone = [f"sub-{label}" for label in participants if not (config.bids_dir / f"sub-{label}").is_dir()]
    return gone if len(gone) < len(participants) else []
