"""Names and folders of the report pages of a participant, and links between them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from n2a_bids.config import OutputConfig
from n2a_bids.errors import BIDSDataError


@dataclass(frozen=True, slots=True)
class ReportPage:
    """One page and what it is about."""

    path: Path
    session: str | None
    """Label without ``ses-``, empty for what is in no session; None where the page holds everything."""


def list_pages(
    output_dir: Path, participant: str, sessions: Collection[str], outputs: OutputConfig
) -> list[ReportPage]:
    """Say which pages to write.

    Parameters
    ----------
    output_dir : path
        Derivative dataset.
    participant : str
        Label without ``sub-``.
    sessions : collection of str
        Sessions with results, without ``ses-``; an empty label stands for what is in no session.
    outputs : OutputConfig
        Level of the pages, and the most sessions in one.

    Returns
    -------
    pages : list of ReportPage
        One page for everything, or one for each session where there are too many or the pages go into the
        folders of sessions.

    Examples
    --------
    >>> folder, many = Path("out"), OutputConfig(sessions_in_a_report=1)
    >>> [str(page.path) for page in list_pages(folder, "01", {"a", "b"}, many)]
    ['out/sub-01_ses-a.html', 'out/sub-01_ses-b.html']
    """
    named = set(sessions) - {""}
    split = bool(named) and (outputs.report_level == "session" or len(named) > outputs.sessions_in_a_report)
    subject = f"sub-{participant}"
    pages = []
    for session in sorted(sessions) if split else [None]:
        folder = output_dir if outputs.report_level == "root" else output_dir / subject
        if session and outputs.report_level == "session":
            folder /= f"ses-{session}"
        name = f"{subject}_ses-{session}.html" if session else f"{subject}.html"
        pages.append(ReportPage(folder / name, session))
    return pages


def find_page(output_dir: Path, participant: str, session: str) -> Path:
    """The page that shows a session (or, for an empty label, what is in none), wherever it was written."""
    subject = f"sub-{participant}"
    folders = [output_dir, output_dir / subject, output_dir / subject / f"ses-{session}"]
    names = [f"{subject}_ses-{session}.html", f"{subject}.html"] if session else [f"{subject}.html"]
    candidates = [folder / name for name in names for folder in folders]
    return next((path for path in candidates if path.is_file()), output_dir / f"{subject}.html")


def find_reports(output_dir: Path, participant: str) -> list[Path]:
    """All reports of a participant, of whatever level, without their viewers."""
    return [page for page in _pages(output_dir, participant) if page.is_file() and "_viewer" not in page.stem]


def _pages(output_dir: Path, participant: str) -> Iterator[Path]:
    """Where reports and viewers may lie; the report of the whole participant whether or not it is there."""
    subject = f"sub-{participant}"
    for folder in (output_dir, output_dir / subject, *sorted((output_dir / subject).glob("ses-*"))):
        yield folder / f"{subject}.html"
        for pattern in (f"{subject}_ses-*.html", f"{subject}_viewer*.html"):
            yield from sorted(folder.glob(pattern))


def remove_other_pages(output_dir: Path, participant: str, kept: Collection[Path]) -> None:
    """Delete pages of earlier runs that were split or placed otherwise: nobody would renew them.

    Parameters
    ----------
    output_dir : path
        Derivative dataset.
    participant : str
        Label without ``sub-``.
    kept : collection of path
        Reports and viewers that belong to this run.

    Raises
    ------
    BIDSDataError
        If such a page cannot be deleted.
    """
    for page in _pages(output_dir, participant):
        if page in kept:
            continue
        try:
            page.unlink(missing_ok=True)
        except OSError as error:
            raise BIDSDataError(
                f"{page}: expected to delete this report of an earlier run, which is out of date, found "
                f"{type(error).__name__}: {error.strerror}; delete it or change the permissions"
            ) from error


def link(path: Path, folder: Path) -> str:
    """Relative link from a page in `folder` to a file.

    Examples
    --------
    >>> link(Path("out/sub-01/log/x.txt"), Path("out/sub-01/ses-a"))
    '../log/x.txt'
    """
    return Path(os.path.relpath(path, folder)).as_posix()
