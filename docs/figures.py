"""Figures of the benchmark pages, drawn from their rows: dots on lines, panels for measures.

python docs/figures.py            draw every figure whose rows or specification changed
python docs/figures.py --check    say which figures are not those of their rows, and draw nothing

A figure stands between two comments, the first of which is TOML. `rows.py` tells what chooses the rows:

    <!-- figure
    file = "pictures/white.svg"                   beside the page
    title = "What the dots are"                   read aloud where the picture is not seen
    rows = ["2026-11-30/white.tsv"]
    by = ["truth", "noise_level"]
    across = ["method"]
    line = "{truth}, noise {noise_level}"         the name of a line
    [[panels]]
    axis = "dB above BM4D"
    dots = [["auto", "auto.psnr_db - bm4d.psnr_db"]]
    same = 0                                      optional: where nothing would be gained or lost
    asked = 0.5                                   optional: what was asked for
    band = [0.8, 1.2]                             optional: the range that was asked for
    -->
    <!-- end of figure -->

A dot is the mean of the rows of its line, and a bar through it their range, where there are several. A list
of expressions in place of one gives as many dots. What a line has no rows for is left out.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from rows import Row, Spec, evaluate, fill_template, group_rows

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(
    r"(?P<head><!-- figure\n(?P<spec>.*?)\n-->\n).*?(?P<end><!-- end of figure -->)", re.DOTALL
)
OURS, ALSO_OURS = "#0b5cad", "#8ab6e8"
OTHERS = ("#e07a1f", "#6b7785", "#2a9d6f", "#b0478c", "#8c6d1f")
"""Colours: of ``auto``, of its variants, and of all others in turn."""
WIDTH_IN, LINE_IN = 6.2, 0.21
"""Of a picture, which a page and a phone show as wide as it is; panels stand one below the other."""


def fill(page: Path) -> str:
    """Text of a page with a link to each of its figures."""

    def link(found: re.Match[str]) -> str:
        spec = tomllib.loads(found["spec"])
        return f"{found['head']}\n![{spec['title']}]({spec['file']})\n\n{found['end']}"

    return BLOCK.sub(link, page.read_text(encoding="utf-8"))


def specifications(page: Path) -> list[dict[str, Any]]:
    """What is to be drawn for a page."""
    return [tomllib.loads(found["spec"]) for found in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def dots_of(expressions: str | Sequence[str], rows: Sequence[Row], spec: Spec) -> list[np.ndarray]:
    """Values of each dot of one line: one for every draw; none where rows are missing."""
    listed = [expressions] if isinstance(expressions, str) else expressions
    try:
        return [evaluate(expression, rows, spec.get("across", ())) for expression in listed]
    except LookupError:
        return []


def digest(spec: Spec, folder: Path) -> str:
    """What a picture must carry to be that of its specification, its rows and this code."""
    lines = group_rows(spec, folder)
    said = [
        [spec["line"], panel["axis"], [[name, dots_of(what, rows, spec)] for name, what in panel["dots"]]]
        for panel in spec["panels"]
        for rows in lines
    ]
    told = json.dumps([dict(spec), said], default=lambda values: [f"{value:.4g}" for value in values])
    return hashlib.sha256((told + Path(__file__).read_text(encoding="utf-8")).encode()).hexdigest()[:16]


def draw(spec: Spec, folder: Path) -> None:
    """Write the picture of one specification."""
    lines = group_rows(spec, folder)
    names = [fill_template(spec["line"], rows, spec) for rows in lines]
    panels = spec["panels"]
    settings = {"svg.fonttype": "none", "svg.hashsalt": "n2a", "font.family": "sans-serif", "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = Figure((WIDTH_IN, 0.6 + len(panels) * (0.6 + LINE_IN * len(lines))), layout="constrained")
        for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
            _draw_panel(axes, panel, lines, spec)
            axes.set_yticks(range(len(lines)), names)
            axes.set_ylim(len(lines) - 0.4, -0.6)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4), frameon=False)
        path = folder / spec["file"]
        path.parent.mkdir(exist_ok=True)
        about = {"Title": spec["title"], "Description": digest(spec, folder), "Date": None, "Creator": None}
        figure.savefig(path, metadata=about, facecolor="white")


def _draw_panel(axes: Any, panel: Spec, lines: Sequence[Sequence[Row]], spec: Spec) -> None:
    if "band" in panel:
        axes.axvspan(*panel["band"], color="#e8f1e4", zorder=0, label="asked")
    if "same" in panel:
        axes.axvline(panel["same"], color="#33404e", linewidth=1)
    if "asked" in panel:
        axes.axvline(panel["asked"], color="#2a9d6f", linewidth=1, linestyle="--", label="asked")
    others = iter(OTHERS)
    for name, expressions in panel["dots"]:
        colour = OURS if name == "auto" else ALSO_OURS if name.startswith("auto") else next(others)
        at = [
            (values, height)
            for height, rows in enumerate(lines)
            for values in dots_of(expressions, rows, spec)
        ]
        axes.hlines(
            [height for _, height in at],
            [values.min() for values, _ in at],
            [values.max() for values, _ in at],
            color=colour,
            linewidth=1,
        )
        axes.plot(
            [values.mean() for values, _ in at],
            [height for _, height in at],
            "o",
            color=colour,
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            label=name,
        )
    axes.set_xlabel(panel["axis"])
    axes.grid(axis="y", color="#e5e8ec", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def differs(spec: Spec, folder: Path) -> bool:
    """Whether the picture is missing, or of other rows or another specification."""
    path = folder / spec["file"]
    return not path.exists() or digest(spec, folder) not in path.read_text(encoding="utf-8")


def pages() -> list[Path]:
    """Pages of the documentation with a figure made from rows."""
    return [page for page in sorted(DOCS.rglob("*.md")) if BLOCK.search(page.read_text(encoding="utf-8"))]


def main(arguments: Sequence[str]) -> int:
    """Draw what changed, or only tell it."""
    n_different = 0
    for page in pages():
        stale = [spec for spec in specifications(page) if differs(spec, page.parent)]
        changed = fill(page) != page.read_text(encoding="utf-8")
        n_different += len(stale) + changed
        for spec in stale:
            sys.stdout.write(f"{page.relative_to(DOCS.parent)}: {spec['file']} is not of its rows\n")
        if "--check" in arguments:
            continue
        for spec in stale:
            draw(spec, page.parent)
        page.write_text(fill(page), encoding="utf-8")
    return int(bool(n_different) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
