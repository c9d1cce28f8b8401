"""SVG elements: embedded pictures, text, colour bars, and the whole document."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from n2a_bids.viz.flicker import flicker_style

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
INK, PAPER, MUTED, PANEL = "#1c2430", "#ffffff", "#5b6675", "#000000"
STATE_COLOURS = ("#f2b134", "#4fb3e8", "#6fd08c", "#e58fc0")
"""One for each state of a flicker; all readable on black."""


Palette = Literal["inferno", "cold-hot"]


def palette_colours(palette: Palette) -> NDArray[np.uint8]:
    """(256, 3) red, green and blue.

    ``cold-hot`` is symmetric about black: blue below zero, red above, brighter with distance. On a dark page
    nothing glows but what differs from zero.
    """
    if palette == "inferno":
        return matplotlib.colormaps["inferno"](np.arange(256), bytes=True)[:, :3]
    stops = np.array(
        [[190, 240, 255], [40, 150, 255], [0, 0, 0], [255, 80, 40], [255, 235, 170]], dtype=float
    )
    position = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(position, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8)


def png_uri(pixels: NDArray[np.uint8], palette: Palette | None = None) -> str:
    """A picture as ``data:`` address.

    Parameters
    ----------
    pixels : (rows, columns) or (rows, columns, 3) uint8 array
        Grey levels, or red, green and blue.
    palette : str, optional
        Colours for (rows, columns) pixels; stored as a palette, as small as grey.
    """
    pixels = np.ascontiguousarray(pixels)
    if palette is None:
        image = Image.fromarray(pixels)
    else:
        image = Image.frombytes("P", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
        image.putpalette(palette_colours(palette).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def picture(x: float, y: float, width: float, height: float, uri: str, *, pixelated: bool = False) -> str:
    """An ``<image>`` stretched over a rectangle."""
    rendering = ' style="image-rendering:pixelated"' if pixelated else ""
    return (
        f'<image x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" '
        f'preserveAspectRatio="none"{rendering} href="{uri}"/>'
    )


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: float = 15,
    fill: str = INK,
    anchor: str = "start",
    weight: int = 400,
    halo: bool = False,
) -> str:
    """A line of text; `y` is its base line; a `halo` keeps it readable on a picture."""
    edge = ' stroke="#000" stroke-width="3" paint-order="stroke" stroke-linejoin="round"' if halo else ""
    return (
        f'<text x="{x:.2f}" y="{y:.2f}" font-size="{size:g}" fill="{fill}" text-anchor="{anchor}" '
        f'font-weight="{weight}"{edge}>{escape(content)}</text>'
    )


def quoted(content: str) -> str:
    """Text that may stand inside a quoted attribute."""
    return escape(content, {'"': "&quot;"})


def rectangle(
    x: float, y: float, width: float, height: float, fill: str, *, radius: float = 0, extra: str = ""
) -> str:
    """A filled rectangle; `extra` are further attributes."""
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" rx="{radius:g}" '
        f'fill="{fill}" {extra}/>'
    )


def colour_bar(x: float, y: float, width: float, palette: Palette, ticks: Sequence[str], title: str) -> str:
    """Horizontal scale with evenly spaced `ticks` and a title to its left; drawn on black, 34 units high."""
    ramp = png_uri(np.arange(256, dtype=np.uint8)[None, :], palette)
    parts = [
        text(x - 14, y + 13, title, size=14, fill="#e8ebef", anchor="end"),
        picture(x, y, width, 14, ramp),
    ]
    for index, tick in enumerate(ticks):
        position = x + width * index / max(len(ticks) - 1, 1)
        parts.append(text(position, y + 30, tick, size=13, fill="#e8ebef", anchor="middle"))
    return "".join(parts)


def document(
    width: float,
    height: float,
    body: str,
    *,
    title: str,
    n_states: int = 1,
    resting: int = 0,
    interactive: bool = False,
) -> str:
    """A whole SVG document.

    One with buttons or links (a flicker, or `interactive`) is a group: what an image holds is hidden from
    screen readers. Its identifier is a checksum of the content: the same figure is the same text, and two
    figures in one page never share styles.
    """
    uid = "n2a" + hashlib.sha256(body.encode()).hexdigest()[:12]
    role = "group" if interactive or n_states > 1 else "img"
    style = f"<style>{flicker_style(uid, n_states, resting)}</style>" if n_states > 1 else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{uid}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="{role}" aria-label={quoteattr(title)} font-family="{FONT}">'
        f"<title>{escape(title)}</title>{style}{body}</svg>\n"
    )
