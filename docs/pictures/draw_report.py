"""Draw the pictures of docs/reports.md: parts of reports, beside the same of images that were spoiled.

python docs/pictures/report_data.py FOLDER
python docs/pictures/draw_report.py FOLDER docs/pictures/report

The first command simulates the participants and runs the app. Good pictures are figures of its report. Bad
ones are drawn by the same functions, from the same images with one fault. A Chromium has to be installed.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from panels import WIDTH, Page, draw_panels, save_element
from report_figures import FIGURES, Report

from n2a_bids.reports.pages.group import render_group
from n2a_bids.reports.pages.group_records import Group, Row, find_outliers, read_group
from n2a_bids.reports.records.measures import measures

N_PARTICIPANTS, ODD_ONE = 14, 5


def main(data: Path, out: Path) -> None:
    """Draw every picture."""
    derivatives = data.resolve() / "derivatives"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Page(Path(folder), size=(WIDTH, 900)) as page:
        for name, draw in FIGURES.items():
            draw_panels(page, draw(Report(derivatives)), out / f"{name}.png")
        draw_pages(page, derivatives, out)
        draw_group(page, derivatives, Path(folder) / "group.html", out)
        page.open(derivatives / "sub-01_viewer.html")
        page.wait("window.viewer && document.body.dataset.state === 'ready'")
        save_element(page, "main", out / "viewer.png", 720)


def draw_pages(page: Page, derivatives: Path, out: Path) -> None:
    """Summary and tables of the participant with a head."""
    page.send("Page.navigate", url=(derivatives / "sub-01.html").as_uri())
    page.wait("document.readyState === 'complete' && document.querySelector('#summary')")
    save_element(page, "#summary", out / "summary.png")
    save_element(page, ".table.whole", out / "alignment-table.png")
    save_element(page, "h2[id$=metrics] + .table", out / "metrics.png", 420)


def draw_group(page: Page, derivatives: Path, file: Path, out: Path) -> None:
    """The page of a group whose numbers are made up from those of one participant; one of them is odd."""
    row = next(row for row in read_group(derivatives, ["01"]).rows)
    generator = np.random.default_rng(3)
    rows = tuple(vary(row, number + 1, generator) for number in range(N_PARTICIPANTS))
    file.write_text(render_group(Group(rows, outliers=find_outliers(rows))), encoding="utf-8")
    page.send("Page.navigate", url=file.as_uri())
    page.wait("document.readyState === 'complete' && document.querySelector('#table tbody tr')")
    page.run(
        "document.querySelectorAll('.panel').forEach((panel, index) => panel.hidden = index < 1 || index > 4)"
    )
    page.run("document.querySelectorAll('.panel[hidden]').forEach((panel) => panel.remove())")
    save_element(page, "main", out / "group.png", 1000)


def vary(row: Row, number: int, generator: np.random.Generator) -> Row:
    """Another participant with other numbers."""
    label = f"{number:02d}"
    spread = 0.25 if number == ODD_ONE else 0.03
    values = tuple(
        None
        if value is None
        else value
        if isinstance(value, int)
        else float(value * np.exp(spread * generator.standard_normal()))
        for measure, value in zip(measures(), row.values, strict=True)
    )
    return replace(
        row,
        participant=label,
        label=row.label.replace("sub-01", f"sub-{label}"),
        page=f"sub-{label}.html",
        values=values,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
