"""What may not be meant as it is taken: mistyped labels, .bidsignore, folders, options without effect."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from n2a_bids.config import Config
from n2a_bids.config.options import Declared, declared_fields
from n2a_bids.dataset.read.files import listed_in_bidsignore
from n2a_bids.dataset.read.filters import unknown_queries
from n2a_bids.dataset.units import Collection, DenoisingUnit
from n2a_bids.enumeration import listing
from n2a_bids.io.printable import printable

_OF_HEADING: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"diffusion series": ("dwi",), "micrographs": ("micr",)}
)
"""Heading of ``--help`` -> folders of BIDS whose images the options below it are about."""
_OF_OPTION: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "--single": ("anat",),
        "--mask-method": ("anat",),
        "--align-space": ("anat",),
        "--fmriprep-derivatives": ("anat",),
        "--ignore-phase": ("anat", "dwi"),
        "--keep-noise-floor": ("anat", "dwi"),
        "--skull-strip": ("anat", "dwi"),
        "--complex-output": ("anat", "dwi"),
        "--emit-raw-like": ("anat", "dwi"),
    }
)
"""The same for options below other headings."""
_NOUNS: Mapping[str, str] = MappingProxyType(
    {"anat": "anatomical images", "dwi": "diffusion series", "micr": "micrographs"}
)
_MEANT = re.compile(r"sub(?:[-_ ]\w.*|\d\w*)", re.IGNORECASE)


def selection_doubts(config: Config, collection: Collection) -> list[str]:
    """Say what of the selection may not be meant as it is taken: one sentence each.

    Parameters
    ----------
    collection : Collection
        What was found by it.
    """
    told = unknown_exclusions(config) + unknown_queries(config.selection.bids_filters)
    told += options_without_effect(config, collection.units)
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


def options_without_effect(config: Config, units: Sequence[DenoisingUnit]) -> list[str]:
    """Say which options are about images of a kind that is not denoised, or about another level.

    Parameters
    ----------
    units : sequence of DenoisingUnit
        What is denoised; where that is nothing, the reasons why not say more.
    """
    found = {unit.datatype for unit in units}
    idle: dict[tuple[str, ...], list[str]] = {}
    training = []
    for _, one in _options_given(config):
        about = _OF_OPTION.get(one.flags[0], _OF_HEADING.get(one.option.group, ()))
        if one.option.group == type(config.train).HEADING:
            training.append(one.flags[0])
        elif about and found and not found & set(about):
            idle.setdefault(about, []).append(one.flags[0])
    told = [
        f"{listing(flags)}: without effect, since no {' or '.join(_NOUNS[one] for one in about)} are "
        "denoised here (--dry-run tells what is)"
        for about, flags in idle.items()
    ]
    if training:
        told.append(f"{listing(training)}: without effect but at the level 'train'")
    if config.selection.micr_frames and "micr" in found and not any(unit.is_movie for unit in units):
        told.append("--micr-frames: without effect, since no file of several pages is used")
    return told


def options_without_training(config: Config) -> list[str]:
    """Say which options the level ``train`` does not look at: those of a denoising and of what it writes."""
    looked_at = ("--random-seed", "--device", "--output-layout")
    flags = [
        one.flags[0]
        for section, one in _options_given(config)
        if section in ("denoise", "outputs") and one.flags[0] not in looked_at
    ]
    if not flags:
        return []
    starts_shipped = "--weights-dir" in flags and not config.train.from_scratch
    start = ", and training starts from the shipped weights" if starts_shipped else ""
    return [f"{listing(flags)}: without effect at the level 'train'{start}"]


def _options_given(config: Config) -> Iterator[tuple[str, Declared]]:
    """Section and option of each value that another one was given for, on the command line or in a file."""
    for section in (one.name for one in declared_fields(Config) if one.is_section):
        settings = getattr(config, section)
        for declared in declared_fields(type(settings)):
            if declared.option and getattr(settings, declared.name) != declared.default:
                yield section, declared


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
