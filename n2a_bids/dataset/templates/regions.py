"""Finds atlases (regions of brain templates): those of TemplateFlow, and files of the user."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from n2a_bids.dataset.names import parse_name
from n2a_bids.dataset.templates.brain import default_home, find_template, is_there
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.external.template_archive import RESOLUTIONS
from n2a_bids.io.files import without_extension

_TELLING = ("atlas", "seg", "scale", "label", "desc", "res")
"""Entities by which TemplateFlow tells segmentations of one template apart."""
_SPELLING = (
    "TEMPLATE:atlas-LABEL:desc-LABEL, such as MNI152NLin2009cAsym:atlas-Schaefer2018:desc-100Parcels7Networks"
)

_LOOK_UP = "its look-up table (columns index and name)"


@dataclass(frozen=True, slots=True)
class Atlas:
    """An atlas, as files."""

    labels: Path
    """Number of the region of every voxel, 0 for none."""
    names: Path | None
    """Look-up table with the columns ``index`` and ``name``; None where TemplateFlow has none."""
    template: Path
    """T1w image that the labels lie on, by its world coordinates."""
    brain: Path | None
    """Brain mask of that; None where it is still to be found."""


def find_atlas(regions: str, template: str | None = None, home: Path | None = None) -> Atlas:
    """The files of an atlas that are on disk; nothing is downloaded.

    Parameters
    ----------
    regions : str
        Template of TemplateFlow with the entities that tell its segmentations apart, or path of a
        segmentation.
    template : str, optional
        With a path: T1w image that it lies on, a path or the name of a template of TemplateFlow.
    home : Path, optional
        As of `find_template`.

    Raises
    ------
    ConfigError
        If something is missing: with the names of the files to fetch.
    """
    check_regions(regions, template)
    if is_path(regions):
        return _own_regions(Path(regions), str(template), home)
    name, entities = parse_regions(regions)
    folder = Path(home or default_home()) / f"tpl-{name}"
    labels = _best_resolution(_segmentations(folder, name), entities)
    if labels is None:
        told = "".join(f"_{key}-{entities[key]}" for key in _TELLING[:-1] if key in entities)
        wanted = f"tpl-{name}_res-{_two_digits(entities.get('res', '1'))}{told}_dseg.nii.gz"
        others = [path.name for path, _ in _segmentations(folder, name)]
        there = f"only {', '.join(sorted(others)[:6])}" if others else "no segmentation"
        raise ConfigError(
            f"--regions {regions}: expected {wanted} in {folder}, found {there}; fetch it (and "
            f"tpl-{name}{told}_dseg.tsv with the names of the regions) with --templateflow-download, or on a "
            "machine with network by TemplateFlow (and set TEMPLATEFLOW_HOME), or give a file of your own"
        )
    return Atlas(labels, _names_of(labels), *find_template(name, home, "--regions"))


def check_regions(regions: str, template: str | None = None) -> None:
    """Refuse what names no atlas, whatever is on disk; of files of the user's own, what is missing of them.

    Raises
    ------
    ConfigError
        With what was expected.
    """
    if not is_path(regions):
        parse_regions(regions)
        if template is not None:
            raise ConfigError(
                f"--regions-template {template} has no effect with --regions {regions}, which names its "
                "template; leave it out"
            )
        return
    labels = Path(regions)
    for path, what in ((labels, "a segmentation"), (_own_names(labels), _LOOK_UP)):
        if not is_there(path):
            raise ConfigError(f"--regions {labels}: expected {what} at {path}, found none; put it there")
    if template is None:
        raise ConfigError(
            f"--regions {labels}: expected --regions-template with it, the T1w image that the regions lie on "
            "(a path, or the name of a template of TemplateFlow), found none; add it"
        )


def asked_of_templateflow(regions: str, template: str | None = None) -> str | None:
    """The segmentation, or the template of one of the user's own; None where all are files."""
    if not is_path(regions):
        return regions
    return template if template and not is_path(template) else None


def is_path(regions: str) -> bool:
    """Whether a file is meant, not a name.

    Examples
    --------
    >>> is_path("atlas_dseg.nii.gz"), is_path("MNI152NLin2009cAsym:seg-aseg")
    (True, False)
    """
    return regions.endswith((".nii", ".nii.gz")) or os.sep in regions


def parse_regions(regions: str) -> tuple[str, dict[str, str]]:
    """Template and entities of a segmentation of TemplateFlow.

    Raises
    ------
    ConfigError
        If it is not spelled so.

    Examples
    --------
    >>> parse_regions("MNI152NLin2009cAsym:atlas-HOSPA:desc-th25")
    ('MNI152NLin2009cAsym', {'atlas': 'HOSPA', 'desc': 'th25'})
    """
    name, *parts = regions.removeprefix("tpl-").split(":")
    entities = dict(part.split("-", 1) for part in parts if "-" in part)
    complete = len(entities) == len(parts) and entities.keys() <= set(_TELLING)
    if not (name.isalnum() and entities.keys() - {"res"} and complete and all(entities.values())):
        raise ConfigError(
            f"--regions {regions}: expected the path of a segmentation (*_dseg.nii.gz), or {_SPELLING}; the "
            f"entities are {', '.join(_TELLING)}; correct it"
        )
    return name, entities


def read_region_names(table: Path) -> dict[int, str]:
    """Names of the regions by their number.

    Parameters
    ----------
    table : Path
        Look-up table of BIDS: TSV with the columns ``index`` and ``name``.

    Raises
    ------
    BIDSDataError
        If it is none.
    """
    names: dict[int, str] = {}
    row: dict[str, str] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            # Quotation marks are part of a name.
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                if any(value and value.strip() for value in row.values() if isinstance(value, str)):
                    names[_whole(row["index"])] = " ".join(row["name"].split())
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, csv.Error) as error:
        told = row.values() if {"index", "name"} <= row.keys() else row
        found = ", ".join(str(one) for one in told) or "no row that can be read"
        raise BIDSDataError(
            f"{table}: expected a look-up table with the columns index (whole numbers) and name, parted by "
            f"tabs, in UTF-8, found {found}; correct it"
        ) from error
    return names


def _whole(text: str) -> int:
    """The whole number that a text is; a ValueError where it is none."""
    value = float(text)
    if value != int(value):
        raise ValueError(text)
    return int(value)


def _own_names(labels: Path) -> Path:
    """Look-up table beside a segmentation of the user's own."""
    return labels.with_name(f"{without_extension(labels)}.tsv")


def _own_regions(labels: Path, template: str, home: Path | None) -> Atlas:
    """A segmentation of the user's own and its template."""
    names = _own_names(labels)
    if not is_path(template):
        return Atlas(labels, names, *find_template(template, home, "--regions-template"))
    image = Path(template)
    if not is_there(image):
        raise ConfigError(f"--regions-template {image}: expected a T1w image, found none; correct the path")
    mask = image.with_name(image.name.replace("_T1w.nii", "_desc-brain_mask.nii"))
    return Atlas(labels, names, image, mask if mask != image and is_there(mask) else None)


def _segmentations(folder: Path, name: str) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """Segmentations of a template that are there, with their entities."""
    for path in sorted(folder.glob(f"tpl-{name}_*dseg.nii.gz")):
        if is_there(path):
            yield path, {key: value for key, value in parse_name(path)[0].items() if key != "tpl"}


def _best_resolution(
    found: Iterator[tuple[Path, Mapping[str, str]]], entities: Mapping[str, str]
) -> Path | None:
    """The segmentation of these entities, of about 1 mm where there are several resolutions."""
    wanted = {key: value for key, value in entities.items() if key != "res"}
    by_resolution = {}
    for path, own in found:
        if {key: value for key, value in own.items() if key != "res"} == wanted:
            by_resolution[_number(own.get("res"))] = path
    others = sorted(by_resolution.keys() - set(RESOLUTIONS), key=str)
    order = [_number(entities["res"])] if "res" in entities else [*RESOLUTIONS, *others]
    return next((by_resolution[number] for number in order if number in by_resolution), None)


def _number(label: str | None) -> int | str | None:
    """Index of a resolution, whose label may begin with zeros; labels that are no number stay."""
    return int(label) if label and label.isdecimal() else label


def _two_digits(label: str) -> str:
    """A resolution as TemplateFlow writes it; labels that are no number stay."""
    return label.zfill(2) if label.isdecimal() else label


def _names_of(labels: Path) -> Path | None:
    """The look-up table of a segmentation: that with the most entities of its own."""
    own = parse_name(labels)[0].items()
    tables = {path: parse_name(path)[0].items() for path in labels.parent.glob("tpl-*_dseg.tsv")}
    fitting = [path for path, entities in tables.items() if entities <= own and len(entities) > 1]
    best = max(fitting, key=lambda path: (len(tables[path]), path.name), default=None)
    if best is not None and not is_there(best):
        raise ConfigError(
            f"--regions: expected names of the regions in {best}, found an empty file; fetch it"
        )
    return best
