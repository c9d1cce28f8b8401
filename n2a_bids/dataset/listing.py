"""Prints the list of groups and excluded images of ``--dry-run``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from n2a_bids.dataset.grouping.protocols import input_notes
from n2a_bids.dataset.read.files import file_problem
from n2a_bids.dataset.units import Collection, DenoisingUnit, Excluded, ImageFile
from n2a_bids.enumeration import counted
from n2a_bids.io.printable import printable

_KINDS = {
    "anat-repeats": "{suffix} repetitions",
    "anat-echoes": "{suffix} echoes",
    "anat-single": "one {suffix} image, alone",
    "dwi-reverse-pe": "DWI with opposite phase encoding",
    "dwi-repeats": "DWI repetitions",
    "dwi-split": "one DWI series, split in two",
    "dwi-single": "one DWI series, alone",
    "dwi-in-place": "one DWI series, where it lies",
    "micr-repeats": "{suffix} exposures",
    "micr-frames": "{suffix} frames",
}
_WIDTH = 110


def format_collection(collection: Collection) -> str:
    """Text with every group and its files, and every image left out with its reason.

    Parameters
    ----------
    collection : Collection
        What `n2a_bids.dataset.collect.collect` found.

    Returns
    -------
    text : str
        Several lines, without a newline at the end.
    """
    problems = {
        path: problem
        for unit in collection.units
        for path in _used_files(unit)
        if (problem := file_problem(path))
    }
    lines = [_headline(collection, len(problems))]
    for unit in collection.units:
        lines += ["", *_unit_lines(unit, problems)]
    faults = [item for item in collection.excluded if item.is_error]
    others = [item for item in collection.excluded if not item.is_error]
    if others:
        lines += ["", "Left out:", *_left_out_lines(others)]
    if faults:
        lines += ["", "Cannot be used:", *_left_out_lines(faults)]
    return "\n".join(lines)


def _used_files(unit: DenoisingUnit) -> list[Path]:
    """Images of a group that a run reads: without phases that stay unused."""
    return [path for image in unit.images for path in _files_of(unit, image)]


def _files_of(unit: DenoisingUnit, image: ImageFile) -> Sequence[Path]:
    return image.files if unit.uses_phase or image.is_cartesian else image.files[:1]


def _headline(collection: Collection, n_unusable: int) -> str:
    participants = {unit.entities["sub"] for unit in collection.units}
    n_images = sum(len(unit.images) for unit in collection.units)
    unusable = f"; {counted(n_unusable, 'file')} of these groups cannot be used" if n_unusable else ""
    return (
        f"{counted(len(collection.units), 'group')} to denoise ({counted(n_images, 'image')} of "
        f"{counted(len(participants), 'participant')}), {len(collection.excluded)} left out{unusable}"
    )


def _learned_from(unit: DenoisingUnit) -> str:
    if unit.companion is None:
        return ""
    return f"; it learns from {unit.companion.path.name}, too, where that lowers the error"


def _unit_lines(unit: DenoisingUnit, problems: Mapping[Path, str]) -> list[str]:
    lines = [
        f"{unit.label}  [{_KINDS[unit.kind].format(suffix=unit.suffix)}]",
        *_wrapped(unit.reason + _learned_from(unit), "    "),
    ]
    for image, volumes in zip(unit.images, unit.volumes or ((),) * len(unit.images), strict=True):
        used = _files_of(unit, image)
        names = " with ".join(path.name for path in used)
        lines.append(f"  - {names}" + (f"  ({len(volumes)} volumes)" if volumes else ""))
        for path in used:
            if path in problems:
                lines += _wrapped(f"cannot be used: {problems[path]}", "      ")
    if unit.uses_phase:
        lines.append("    complex data: the smooth phase is taken out, and the real part denoised")
    elif any(len(image.files) > 1 for image in unit.images):
        lines.append("    complex data: their magnitudes are denoised")
    for note in input_notes(unit):
        lines += _wrapped(f"note: {note}", "    ")
    return lines


def _left_out_lines(items: Iterable[Excluded]) -> list[str]:
    """Names of files, and below those that share a reason the reason once."""
    names_by_reason: dict[str, list[str]] = {}
    for item in items:
        names_by_reason.setdefault(_without_label(item), []).append(printable(item.path.name))
    lines = []
    for reason, names in names_by_reason.items():
        lines += [*(f"  - {name}" for name in names), *_wrapped(reason, "      ")]
    return lines


def _without_label(item: Excluded) -> str:
    """The reason without the participant and session at its start, which the name of the file tells."""
    labels = [part for part in item.path.name.split("_") if part.startswith(("sub-", "ses-"))]
    return item.reason.removeprefix(f"{' '.join(labels)}: ")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        printable(" ".join(text.split())),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
