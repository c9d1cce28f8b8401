"""Writes the viewer pages (scroll, compare, rate); their behaviour: ``data/templates/viewer.html``."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from n2a_bids import __version__
from n2a_bids.dataset.names import derivative_path
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import write_whole
from n2a_bids.io.json import read_json_object, read_typed
from n2a_bids.packaged import DATA, packaged_text
from n2a_bids.record.typed_json import JsonObject, to_json
from n2a_bids.record.viewer import ViewerRecord
from n2a_bids.reports.pages.paths import link
from n2a_bids.reports.records.ratings import ARTIFACTS, PREFERENCES
from n2a_bids.reports.records.unit_record import UnitRecord
from n2a_bids.reports.templates import environment, script_json, style
from n2a_bids.viz.viewer import LARGEST_CHARACTERS, MARGIN_MM


@dataclass(frozen=True, slots=True)
class _Shown:
    """A unit and its images."""

    unit: UnitRecord
    record: ViewerRecord


def viewer_record_path(output_dir: Path, unit: UnitRecord) -> Path:
    """Where the run left what the viewer shows of a unit."""
    entities = {key: value for key, value in unit.entities if key != "mod"}
    return derivative_path(
        output_dir, entities, unit.suffix, desc="viewer", extension=".json", datatype="figures"
    )


def write_viewer_pages(
    output_dir: Path, report: Path, subject: str, units: Sequence[UnitRecord]
) -> list[Path]:
    """Write the viewer that belongs to a report, if a run left images for it.

    Parameters
    ----------
    output_dir : Path
        Derivative dataset.
    report : Path
        The participant's page: the viewer lies beside it, as ``<name>_viewer.html``.
    subject : str
        What its title says.
    units : sequence of UnitRecord
        Those of the page.

    Returns
    -------
    pages : list of Path
        None without images; more than one (``<name>_viewer-2.html``) where one file would be too large.

    Raises
    ------
    BIDSDataError
        If the images that a run left cannot be read.
    """
    paths = ((unit, viewer_record_path(output_dir, unit)) for unit in units)
    shown = [_Shown(unit, read_typed(ViewerRecord, path)) for unit, path in paths if path.is_file()]
    parts = list(_parts(one for one in shown if one.record.images))
    pages = [
        report.with_name(f"{report.stem}_viewer{f'-{number}' if number > 1 else ''}.html")
        for number in range(1, len(parts) + 1)
    ]
    for page, part in zip(pages, parts, strict=True):
        others = [other.name for other in pages if other != page]
        write_whole(page, _page(output_dir, report, subject, part, others))
    return pages


def _parts(shown: Iterable[_Shown]) -> Iterable[list[_Shown]]:
    """Units in their order, as many in one page as its size allows."""
    part: list[_Shown] = []
    for one in shown:
        taken = sum(other.record.n_characters for other in part)
        if part and taken + one.record.n_characters > LARGEST_CHARACTERS:
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def _page(output_dir: Path, report: Path, subject: str, part: Sequence[_Shown], others: Sequence[str]) -> str:
    """One viewer page, as HTML."""
    return (
        environment()
        .get_template("viewer.html")
        .render(
            subject=subject,
            version=__version__,
            style=style(),
            report=link(report, report.parent),
            others=others,
            coverage=_coverage([one.record.coverage for one in part]),
            margin_mm=f"{MARGIN_MM:g}",
            preferences=PREFERENCES,
            artifacts=ARTIFACTS,
            licences=packaged_text("viewer/LICENSES.txt"),
            library=base64.b64encode((DATA / "viewer" / "niivue.umd.js.gz").read_bytes()).decode("ascii"),
            data=script_json(
                {
                    "dataset": _dataset_name(output_dir),
                    "version": __version__,
                    "units": [_unit(one) for one in part],
                }
            ),
        )
    )


def _coverage(units: Sequence[str]) -> str:
    """What is told of a page: the most of a person that it shows; micrographs show none.

    Examples
    --------
    >>> _coverage(["brain", "head", "micrograph"]), _coverage(["micrograph"])
    ('head', 'micrograph')
    """
    return next(kind for kind in ("head", "brain", "micrograph") if kind in units)


def _unit(shown: _Shown) -> JsonObject:
    """What the script of the page needs of a unit."""
    record = shown.unit.denoising
    return {
        "label": shown.unit.label,
        "run_uuid": (record and record.run_uuid) or "",
        "notes": _notes(shown),
        "is_plane": shown.record.coverage == "micrograph",
        "images": [to_json(image) for image in shown.record.images],
    }


def _notes(shown: _Shown) -> list[str]:
    """What a reader must know of the images."""
    record, notes = shown.record, []
    if shown.unit.outdated:
        notes.append(f"Of an earlier run: {shown.unit.outdated}.")
    if record.coarsening > 1:
        notes.append(
            f"To keep the page small, {record.coarsening} voxels along each axis were averaged to one: there "
            "is less noise, and less detail, than in the files."
        )
    if record.n_levels < 128:
        notes.append(f"To keep the page small, intensities have {record.n_levels} steps.")
    if not any(image.name == "residual" for image in record.images):
        notes.append("There is no residual: the output is the image before denoising.")
    return notes


def _dataset_name(output_dir: Path) -> str:
    """Name of the derivative dataset, or of its folder."""
    path = output_dir / "dataset_description.json"
    try:
        name = read_json_object(path, expected="a description", remedy="").get("Name")
    except BIDSDataError:
        name = None
    return name if isinstance(name, str) else output_dir.name
