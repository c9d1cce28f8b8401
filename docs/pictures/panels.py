"""Panels side by side as one small picture: parts of the figures of a report, as a browser shows them."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from browser import Page  # noqa: E402

WIDTH = 1000
_COLOURS = {"": "#33404e", "good": "#14603a", "bad": "#a3212f"}
_STYLE = (
    "body{margin:0;font:600 17px DejaVu Sans,sans-serif;background:#fff}"
    ".row{display:flex;gap:8px}.row>div{flex:1;min-width:0}"
    "p{margin:0 0 4px;padding:3px 8px;color:#fff;border-radius:5px}"
    "svg{display:block;width:100%;height:auto;font-weight:400}"
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure, or a part of it."""

    title: str
    svg: str
    tone: str = ""
    """``good`` and ``bad`` colour the title."""
    state: int | None = None
    """Of a flicker: which of its images; the one at rest by default."""
    box: tuple[float, float, float, float] | None = None
    """x, y, width, height in units of the figure; all of it by default."""

    def html(self) -> str:
        """Title and figure."""
        svg = self.svg[self.svg.index("<svg") :]
        if self.box:
            svg = re.sub(r'viewBox="[^"]*"', f'viewBox="{" ".join(map(str, self.box))}"', svg, count=1)
        if self.state is not None:
            # One figure may stand there twice, in two states.
            uid = re.search(r'id="(\w+)"', svg)[1]
            svg, uid = svg.replace(uid, f"{uid}s{self.state}"), f"{uid}s{self.state}"
            shown = f"#{uid} .state{{opacity:0!important}}#{uid} .s{self.state}{{opacity:1!important}}"
            svg = f"<style>{shown}</style>{svg}"
        return f'<div><p style="background:{_COLOURS[self.tone]}">{self.title}</p>{svg}</div>'


def draw_panels(page: Page, rows: Sequence[Sequence[Panel]], out: Path) -> None:
    """Save rows of panels as one picture."""
    body = "".join(f'<div class="row">{"".join(panel.html() for panel in row)}</div>' for row in rows)
    source = out.with_suffix(".html")
    head = f"<!DOCTYPE html><meta charset=utf-8><style>{_STYLE}</style>"
    source.write_text(f'{head}<body data-state="ready"><div id="all">{body}</div></body>', encoding="utf-8")
    page.open(source)
    source.unlink()
    save_element(page, "#all", out)


def save_element(page: Page, selector: str, out: Path, most_height: float = 2000) -> None:
    """Save what an element of the open page shows, from its top."""
    box = page.box(selector)
    scroll = float(page.run("window.scrollY"))
    height = min(box["height"], most_height)
    clip = {"x": box["x"], "y": box["y"] + scroll, "width": box["width"], "height": height, "scale": 1}
    answer = page.send("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
    save_small(base64.b64decode(answer["data"]), out)


def save_small(png: bytes, out: Path) -> None:
    """Write a picture with few colours, rare ones among them: noise takes little room, letters stay sharp."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    few = image.quantize(64, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(out, optimize=True)
