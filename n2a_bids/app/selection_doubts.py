"""What of a selection of images may not be meant as it is taken: mistyped labels, .bidsignore, folders."""

from __future__ import annotations

import re
from pathlib import Path

from n2a_bids.config import Config
from n2a_bids.dataset.read.files import listed_in_bidsignore
from n2a_bids.dataset.read.filters import unknown_queries
from n2a_bids.dataset.units import Collection
from n2a_bids.io.printable import printable

_MEANT = re.compile(r"sub(?:[-_ ]\w.*|\d\w*)", re.IGNORECASE)


def selection_doubts(config: Config, collection: Collection) -> list[str]:
    """Say what of the selection may not be meant as it is taken: one sentence each.

    Parameters
    ----------
    collection : Collection
        What was found by it.
    """
    told = unknown_exclusions(config) + unknown_queries(config.selection.bids_filters)
    files = [path for unit in collection.units for image in unit.images for path in image.files]
    hidden = [path.name for path in listed_in_bidsignore(config.bids_dir, files)]
    if hidden:
        told.append(
            f".bidsignore, which is for validators, leaves nothing out here: {', '.join(hidden[:3])}"
            f"{f' and {len(hidden) - 3} more' if len(hidden) > 3 else ''} will be denoised; to leave images "
            "out, give --run-id or --bids-filter-file"
        )
    odd = [] if config.selection.participants else _like_participants(config.bids_dir)
    if odd:
        told.append(
            f"{', '.join(odd[:3])}{' and others' if len(odd) > 3 else ''} in {config.bids_dir}: participants "
            "are folders named sub-<label>, in small letters; these are not looked at"
        )
    return told


def _like_participants(bids_dir: Path) -> list[str]:
    """Folders that seem to be meant as participants, but are not named so."""
    return sorted(
        printable(path.name)
        for path in bids_dir.iterdir()
        if _MEANT.fullmatch(path.name) and not path.name.startswith("sub-") and path.is_dir()
    )


def unknown_exclusions(config: Config) -> list[str]:
    """Say which participants are to be left out but are not there: a mistyped label leaves nobody out."""
    labels = [f"sub-{label.removeprefix('sub-')}" for label in config.selection.exclude_participants]
    absent = [label for label in labels if not (config.bids_dir / label).is_dir()]
    if not absent:
        return []
    return [
        f"--exclude-participant-label leaves nobody out by {', '.join(absent)}: found no such folder in "
        f"{config.bids_dir}; correct the label if it is mistyped"
    ]
