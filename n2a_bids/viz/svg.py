"""SVG elements of all figures: pictures, text, colour bars, document, and the CSS of the flicker."""

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

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
INK, MUTED, PANEL = "#1c2430", "#5b6675", "#000000"
STATE_COLOURS = ("#f2b134", "#4fb3e8", "#6fd08c", "#e58fc0")
"""One for each state of a flicker; all readable on black."""


Palette = Literal["inferno", "cold-hot"]
SECONDS_PER_STATE = 0.9


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


def png_uri(
    pixels: NDArray[np.uint8], palette: Palette | None = None, *, most_colours: int | None = None
) -> str:
    """A picture as ``data:`` address.

    Parameters
    ----------
    pixels : (rows, columns) or (rows, columns, 3) uint8 array
        Grey levels, or red, green and blue.
    palette : str, optional
        Colours for (rows, columns) pixels; stored as a palette, as small as grey.
    most_colours : int, optional
        To which (rows, columns, 3) pixels are reduced: a quarter of the size.
    """
    pixels = np.ascontiguousarray(pixels)
    if palette is None:
        image = Image.fromarray(pixels)
        if most_colours is not None:
            image = image.quantize(most_colours, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
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


def attribute_text(content: str) -> str:
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


def flicker_style(uid: str, n_states: int, resting: int) -> str:
    """CSS of a flicker: no script, so it also works where the SVG is opened alone.

    At rest one state is shown. Pointing at the picture, tapping or clicking it shows all in turn; pointing at
    a name shows that state; choosing a name by click, tap or keyboard holds its state, wherever the pointer
    goes, until the picture or another name is chosen. Nothing moves unasked. Paper shows the state at rest.
    """
    period = n_states * SECONDS_PER_STATE
    rules = [
        f"#{uid} .state{{opacity:0}}#{uid} .s{resting}{{opacity:1}}",
        f"#{uid} .chip,#{uid} .scene{{cursor:pointer;outline:none}}",
        f"#{uid} .chip:hover rect,#{uid} .chip:focus rect{{fill-opacity:1}}",
        f"#{uid} .chip:focus-visible rect{{stroke:#fff;stroke-width:2}}",
        f"@keyframes {uid}{{0%{{opacity:1}}{100 / n_states:.4f}%{{opacity:0}}100%{{opacity:0}}}}",
    ]
    for state in range(n_states):
        delay = state * SECONDS_PER_STATE - period
        playing = f"animation:{uid} {period:g}s step-end {delay:g}s infinite"
        rules.append(f"#{uid} .scene:is(:hover,:focus) .s{state}{{{playing}}}")
    # The more classes, the more weight: a name pointed at wins over the picture, a name chosen over both.
    for pointer, scene in ((":hover", ".scene.scene"), (":focus", ".scene.scene.scene")):
        for state in range(n_states):
            held = f"#{uid} .c{state}{pointer}~{scene}"
            rules.append(f"{held} .state{{opacity:0;animation:none}}{held} .s{state}{{opacity:1}}")
    rules.append(f"@media print{{#{uid} .chip{{display:none}}}}")
    return "".join(rules)
