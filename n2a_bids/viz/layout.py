"""Lays out slices in a figure: rows of planes, buttons of states, name plates, scale bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import contourpy
import numpy as np
from numpy.typing import NDArray

from n2a_bids.viz import svg
from n2a_bids.viz.view import PLANES, Cut, Frame, Plane, evenly_spaced_cuts, to_grey

WIDTH = 1200.0
"""Of every figure, in SVG units: about one pixel each on a laptop."""
GAP = 6.0
HEADER = 50.0
COLUMNS_TOP = 42.0
_ROW_LENGTH_MM = 620.0
"""Brain laid side by side in one row: sets how many slices there are, and so how large they are."""
_PIXEL_BUDGET = 1_900_000
"""Pixels of all states together; noise costs about 1.1 bytes each once in the page."""

Painter = Callable[[Cut], str]
"""Draws a cut: the ``data:`` address of its picture."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cut and the rectangle it is drawn in."""

    cut: Cut
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class State:
    """One picture of a flicker."""

    name: str
    paint: Painter
    below: str = ""
    """Drawn in this state only, for example a colour bar; its upper left corner lies under the slices."""
    outlined: bool = False
    """Draw the contour of the mask and veil what lies outside, for maps that do not show the brain."""


def slice_counts(frame: Frame, n_states: int) -> dict[Plane, int]:
    """Slices of each plane that fill a row and keep the file small."""
    counts: dict[Plane, int] = {}
    pixels: dict[Plane, int] = {}
    for plane in PLANES:
        cut = Cut(plane, 0)
        counts[plane] = int(np.clip(round(_ROW_LENGTH_MM / cut.size_mm(frame)[1]), 2, 8))
        pixels[plane] = cut.of(frame.mask).size
    while (
        n_states * sum(counts[plane] * pixels[plane] for plane in PLANES) > _PIXEL_BUDGET
        and max(counts.values()) > 2
    ):
        counts = {plane: max(count - 1, 2) for plane, count in counts.items()}
    return counts


def lay_out(
    frame: Frame, cuts: Sequence[Cut], top: float = HEADER, *, one_row: bool = False
) -> tuple[list[Cell], float]:
    """Cuts at one magnification, a row for each plane or all in one; returns the cells and the lower edge."""
    rows = [list(cuts)] if one_row else [[cut for cut in cuts if cut.plane == plane] for plane in PLANES]
    rows = [row for row in rows if row]
    scale = min((WIDTH - GAP * (len(row) + 1)) / sum(cut.size_mm(frame)[1] for cut in row) for row in rows)
    cells, y = [], top
    for row in rows:
        widths = [cut.size_mm(frame)[1] * scale for cut in row]
        gap = (WIDTH - sum(widths)) / (len(row) + 1)
        x = gap
        for cut, width in zip(row, widths, strict=True):
            cells.append(Cell(cut, x, y, width, cut.size_mm(frame)[0] * scale))
            x += width + gap
        y += max(cell.height for cell in cells[-len(row) :]) + GAP
    return cells, y


def annotations(cells: Sequence[Cell], frame: Frame) -> str:
    """Orientation letters on the first slice of each row, the coordinate on every slice."""
    parts, labelled = [], set()
    for cell in cells:
        parts.append(
            svg.text(
                cell.x + 4,
                cell.y + cell.height - 5,
                cell.cut.position(frame),
                size=12,
                fill="#dfe5ec",
                halo=True,
            )
        )
        if cell.cut.plane in labelled:
            continue
        labelled.add(cell.cut.plane)
        left, right, upper, lower = cell.cut.edges
        middle_x, middle_y = cell.x + cell.width / 2, cell.y + cell.height / 2 + 5
        for letter, x, y in (
            (left, cell.x + 9, middle_y),
            (right, cell.x + cell.width - 9, middle_y),
            (upper, middle_x, cell.y + 15),
            (lower, middle_x, cell.y + cell.height - 5),
        ):
            parts.append(
                svg.text(x, y, letter, size=15, fill="#ffd166", anchor="middle", weight=700, halo=True)
            )
    return "".join(parts)


def outlines(cells: Sequence[Cell], frame: Frame, *, stroke: str = "#ff5a5f", width: float = 1.6) -> str:
    """Contour of the mask in every cell."""
    lines = "".join(f'<path d="{_outline(cell, frame)}"/>' for cell in cells)
    return f'<g fill="none" stroke="{stroke}" stroke-width="{width}" stroke-linejoin="round">{lines}</g>'


def shade_outside(cells: Sequence[Cell], frame: Frame, opacity: float = 0.6) -> str:
    """Veil over everything but the mask, so that the eye stays in the brain."""
    veils = []
    for cell in cells:
        corners = f"M{cell.x:.1f},{cell.y:.1f}h{cell.width:.1f}v{cell.height:.1f}h{-cell.width:.1f}Z"
        veils.append(f'<path d="{corners}{_outline(cell, frame)}"/>')
    return f'<g fill="#000" fill-opacity="{opacity}" fill-rule="evenodd">{"".join(veils)}</g>'


def _outline(cell: Cell, frame: Frame) -> str:
    """Path along the edge of the mask in one cell."""
    inside = np.pad(cell.cut.of(frame.mask).astype(float), 1)
    rows, columns_ = cell.cut.of(frame.mask).shape
    path = []
    for line in contourpy.contour_generator(z=inside).lines(0.5):
        # Padding moved pixel centres by one; a centre lies half a pixel inside its pixel.
        x = cell.x + (line[:, 0] - 0.5) / columns_ * cell.width
        y = cell.y + (line[:, 1] - 0.5) / rows * cell.height
        path.append("M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True)) + "Z")
    return "".join(path)


def paint_cells(cells: Sequence[Cell], paint: Painter) -> str:
    """The pictures of all cells."""
    return "".join(svg.picture(cell.x, cell.y, cell.width, cell.height, paint(cell.cut)) for cell in cells)


def flicker(
    frame: Frame, states: Sequence[State], *, title: str, resting: int = -1, footer: float = 0
) -> str:
    """Slices in three planes, the states on top of each other.

    Parameters
    ----------
    frame : Frame
        What is shown.
    states : sequence of State
        In the order in which they take turns.
    title : str
        Read out by screen readers.
    resting : int
        The state shown while nobody points at the figure.
    footer : float
        Height kept free below the slices, for colour bars.
    """
    cells, bottom = lay_out(frame, evenly_spaced_cuts(frame, slice_counts(frame, len(states))))
    height = bottom + footer
    labels = annotations(cells, frame)
    around = shade_outside(cells, frame) + outlines(cells, frame, stroke="#cfd6de", width=1)
    layers = [
        svg.rectangle(0, HEADER - 4, WIDTH, height - HEADER, svg.PANEL)
        + paint_cells(cells, state.paint)
        + (around if state.outlined else "")
        + labels
        + f'<g transform="translate(0 {bottom:.2f})">{state.below}</g>'
        for state in states
    ]
    return stack([state.name for state in states], layers, height, title=title, resting=resting)


def stack(
    names: Sequence[str], layers: Sequence[str], height: float, *, title: str, resting: int = -1
) -> str:
    """Layers on top of each other below their buttons, each with its name in the upper right corner."""
    chips, states, x = [], [], GAP
    for index, (name, layer) in enumerate(zip(names, layers, strict=True)):
        width = 30 + 8.6 * len(name)
        chips.append(_chip(index, x, width, name))
        x += width + 8
        told = {"size": 17, "fill": svg.STATE_COLOURS[index], "anchor": "end", "weight": 700}
        states.append(f'<g class="state s{index}">{layer}{svg.text(WIDTH - 12, 29, f"● {name}", **told)}</g>')
    body = (
        "".join(chips)
        + f'<g class="scene" tabindex="0" role="button" aria-label="Show all in turn">{"".join(states)}</g>'
    )
    return on_black(height, body, title=title, n_states=len(names), resting=resting % len(names))


def _chip(index: int, x: float, width: float, name: str) -> str:
    """Button that holds one state."""
    colour = svg.STATE_COLOURS[index]
    return (
        f'<g class="chip c{index}" tabindex="0" role="button" aria-label="Show {svg.attribute_text(name)}">'
        + svg.rectangle(x, 9, width, 28, colour, radius=14, extra='fill-opacity="0.85"')
        + svg.text(x + width / 2, 28, name, size=15, fill="#10151c", anchor="middle", weight=600)
        + "</g>"
    )


def on_black(height: float, body: str, *, title: str, n_states: int = 1, resting: int = 0) -> str:
    """A whole figure of the usual width on black."""
    panel = svg.rectangle(0, 0, WIDTH, height, svg.PANEL, radius=8)
    return svg.document(WIDTH, height, panel + body, title=title, n_states=n_states, resting=resting)


def column_heads(names: Sequence[str]) -> tuple[list[float], float, str]:
    """Left edges and width of columns that fill a figure, and their headings, which end at `COLUMNS_TOP`."""
    width = (WIDTH - GAP * (len(names) + 1)) / len(names)
    left = [GAP + index * (width + GAP) for index in range(len(names))]
    heads = (
        svg.text(x + width / 2, 28, name, size=17, fill="#ffffff", anchor="middle", weight=600)
        for x, name in zip(left, names, strict=True)
    )
    return left, width, "".join(heads)


def columns(
    frame: Frame,
    names: Sequence[str],
    rows: Sequence[Sequence[tuple[Cut, str]]],
    *,
    title: str,
    pixelated: bool = True,
) -> str:
    """Pictures side by side, one column for each name.

    Parameters
    ----------
    frame : Frame
        Gives the size of pixels and the coordinates.
    names : sequence of str
        Headings.
    rows : sequence of rows
        One (cut, ``data:`` address) for each name; the cuts of a row have one size.
    title : str
        Read out by screen readers.
    pixelated : bool
        Show pixels as they are, rather than smoothed by the browser.
    """
    left, width, heads = column_heads(names)
    parts, y = [heads], COLUMNS_TOP
    for row in rows:
        height_mm, width_mm = row[0][0].size_mm(frame)
        height = width * height_mm / width_mm
        previous = None
        for x, (cut, uri) in zip(left, row, strict=True):
            parts.append(svg.picture(x, y, width, height, uri, pixelated=pixelated))
            if cut is not previous:
                caption = f"{cut.plane}, {cut.position(frame)}"
                parts.append(svg.text(x + 8, y + height - 9, caption, size=14, fill="#ffd166", halo=True))
            previous = cut
        y += height + GAP
    return on_black(y, "".join(parts), title=title)


def windowed_painter(
    volume: NDArray, window: tuple[float, float], palette: svg.Palette | None = None
) -> Painter:
    """Painter of a volume from black at the lower to white at the upper end of a window."""
    return lambda cut: svg.png_uri(to_grey(cut.of(volume), window), palette)
