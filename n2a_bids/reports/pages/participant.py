"""Writes the report pages (HTML) of one participant from its figures and records.

Figures are looked for in ``sub-<label>/figures/`` as ``<entities>_desc-<name>_<suffix>.svg``, where
``<entities>`` are those of the unit (``sub``, ``ses``, ``acq``, ...) plus ``run``, ``echo`` or ``dir`` where
there is one figure for each repetition. Names, order and captions are in ``data/reports-spec.yml``; the nodes
that draw them are in :mod:`n2a_bids.interfaces.reportlets`. Numbers come from the JSON records beside the
derivatives, see :mod:`n2a_bids.reports.records.units`.

The page is assembled by a template of our own. That of nireports loads jQuery and Bootstrap from two content
networks, so that it breaks where there is no network and tells strangers which report is being read; it also
inserts crash files without escaping, and rewrites the figures in place.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from n2a_bids import __version__
from n2a_bids.config import OutputConfig
from n2a_bids.enumeration import listing
from n2a_bids.io.files import write_whole
from n2a_bids.reports.methods.bibliography import cited
from n2a_bids.reports.methods.citation import as_html, citation_keys
from n2a_bids.reports.methods.text import methods_markdown
from n2a_bids.reports.pages.paths import ReportPage, link, list_pages, remove_other_pages
from n2a_bids.reports.pages.unit import cell, translation, unit_page
from n2a_bids.reports.pages.viewer import write_viewer_pages
from n2a_bids.reports.records.crashes import Crash, find_lasting_crashes
from n2a_bids.reports.records.staleness import LeftOut, read_runs, unfinished_units
from n2a_bids.reports.records.unit_record import UnitRecord
from n2a_bids.reports.records.units import find_units
from n2a_bids.reports.templates import environment, style


@dataclass(frozen=True, slots=True)
class _Content:
    """What one page tells."""

    units: Sequence[UnitRecord]
    unfinished: Sequence[str]
    """Labels of the groups that a run set out to denoise and of which there is nothing."""
    crashes: Sequence[Crash]
    left_out: Sequence[LeftOut]
    """Images that the last run which looked at them did not denoise."""
    viewers: Sequence[Path] = ()
    """Viewer pages of these units."""


def write_participant_reports(
    output_dir: Path, participant: str, run_uuid: str, outputs: OutputConfig
) -> list[Path]:
    """Write the pages of a participant; those of earlier runs that were split otherwise are deleted.

    Parameters
    ----------
    output_dir : path
        Derivative dataset.
    participant : str
        Label without ``sub-``.
    run_uuid : str
        Names the folder of the crash files, ``sub-<label>/log/<run_uuid>``; those of earlier runs are told of
        too, as long as no later run was to denoise their images.
    outputs : OutputConfig
        In which folder, and how many sessions in one page.

    Returns
    -------
    paths : list of paths
        Usually ``sub-<label>.html`` in `output_dir` alone. Each is one file, which needs no network and no
        other file.

    Raises
    ------
    BIDSDataError
        If a JSON record is not readable, or an earlier page cannot be deleted.
    """
    root = output_dir / f"sub-{participant}"
    units = find_units(output_dir, participant)
    runs = read_runs(root)
    unfinished = unfinished_units(runs, [unit.label for unit in units])
    last = {label: attempt.run for label, attempt in runs.attempts.items()}
    crashes = find_lasting_crashes(root / "log", run_uuid, last)
    sessions = {unit.session for unit in units}
    pages = list_pages(output_dir, participant, sessions, outputs)
    kept: list[Path] = []
    for page in pages:
        content = _Content(
            [unit for unit in units if page.session in (None, unit.session)],
            [label for label in unfinished if _belongs(label, page.session, sessions)],
            [crash for crash in crashes if _belongs(crash.node, page.session, sessions)],
            [item for item in runs.left_out if _belongs(item.image, page.session, sessions)],
        )
        page.path.parent.mkdir(parents=True, exist_ok=True)
        viewers = write_viewer_pages(output_dir, page.path, _subject(participant, page), content.units)
        content = replace(content, viewers=viewers)
        write_whole(page.path, _page(output_dir, participant, run_uuid, page, content))
        kept += [page.path, *viewers]
    remove_other_pages(output_dir, participant, kept)
    return [page.path for page in pages]


def _belongs(name: str, session: str | None, sessions: Collection[str]) -> bool:
    """Whether a unit, a step or an image is told of on the page of a session: on all, where none is its own.

    Examples
    --------
    >>> [_belongs("sub-01/ses-b/anat/x.nii", session, {"a", "b"}) for session in ("a", "b", "", None)]
    [False, True, False, True]
    >>> _belongs("sub-01_ses-c_T1w", "a", {"a", "b"})
    True
    """
    marks = {label: re.sub(r"\W", "_", f"_ses_{label}_") for label in sessions if label}
    named = {label for label, mark in marks.items() if mark in re.sub(r"\W", "_", name)}
    return session is None or not named or session in named


def _page(output_dir: Path, participant: str, run_uuid: str, page: ReportPage, content: _Content) -> str:
    """The page, as HTML."""
    methods = methods_markdown([unit for unit in content.units if not unit.outdated])
    template = environment()
    template.filters |= {
        "linked": partial(link, folder=page.path.parent),
        "cell": cell,
        "translation": translation,
        "file": lambda name: Path(name).name,
    }
    return template.get_template("participant.html").render(
        subject=_subject(participant, page),
        viewers=content.viewers,
        run_uuid=run_uuid,
        version=__version__,
        style=style(),
        units=[unit_page(unit) for unit in content.units],
        unfinished=listing(content.unfinished),
        left_out=content.left_out,
        methods=as_html(methods, cited(citation_keys(methods))),
        logs=output_dir / "logs",
        crashes=[crash for crash in content.crashes if not crash.stopped_by],
        stopped=[crash for crash in content.crashes if crash.stopped_by],
        shows_person=any(unit.datatype != "micr" for unit in content.units),
    )


def _subject(participant: str, page: ReportPage) -> str:
    """Whom a page is about."""
    return f"sub-{participant}" + (f" ses-{page.session}" if page.session else "")
