"""Regions of an atlas over the image, and their noise as a chart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from n2a_bids.record.regions import RegionRecord
from n2a_bids.viz import svg
from n2a_bids.viz.charts import ACCENT, MEAN, PLAIN, drawing, render
from n2a_bids.viz.layout import State, flicker, windowed_painter
from n2a_bids.viz.view import Cut, Frame, grey_window, to_grey

MOST_ROWS = 40
"""Of the chart: of more regions the noisiest and the quietest are shown, half of each."""
_OPACITY, _COLOURS = 0.45, 128
_NAME_WIDTH = 36


def region_flicker(image: NDArray, labels: NDArray, frame: Frame) -> str:
    """Regions in colours over the image, and the image alone.

    Parameters
    ----------
    image : (X, Y, Z) array
        Any unit.
    labels : (X, Y, Z) array
        Number of the region of each voxel, 0 for none.
    frame : Frame
        What is shown.
    """
    window = grey_window([image], frame.mask)
    numbers = np.unique(labels[labels != 0])
    # Steps of the golden section: numbers that follow each other, as neighbours do, differ in colour.
    hues = (0.618034 * np.arange(1, len(numbers) + 1)) % 1
    colours = np.vstack([np.zeros(3), 255 * colormaps["hsv"](hues)[:, :3]])
    rows = np.where(labels != 0, 1 + np.searchsorted(numbers, labels), 0)

    def paint(cut: Cut) -> str:
        grey = np.repeat(to_grey(cut.of(image), window)[..., None], 3, axis=-1).astype(np.float32)
        shown = cut.of(rows)
        opacity = np.where(shown > 0, _OPACITY, 0)[..., None]
        mixed = (1 - opacity) * grey + opacity * colours[shown]
        return svg.png_uri(np.rint(mixed).astype(np.uint8), most_colours=_COLOURS)

    states = [State("anatomy", windowed_painter(image, window)), State("regions", paint)]
    return flicker(frame, states, title="Regions of the atlas on the image")


def region_chart(regions: Sequence[RegionRecord], *, single: bool = False) -> str:
    """Noise before and expected error after denoising in each region, the noisiest on top.

    No text at all where nothing was measured in any region.

    Parameters
    ----------
    regions : sequence of RegionRecord
        Of one shell, where there are several.
    single : bool
        There is one image, which is its own mean.
    """
    measured = [row for row in regions if row.noise_sd_mean]
    if not measured:
        return ""
    measured.sort(key=lambda row: -row.noise_sd_mean)
    left_out = max(len(measured) - MOST_ROWS, 0)
    half = MOST_ROWS // 2
    shown = [*measured[:half], *measured[-half:]] if left_out else measured
    # The gap between the noisiest and the quietest is one row high.
    places = np.arange(len(shown)) + (np.arange(len(shown)) >= half if left_out else 0)
    with drawing(8.2, 1.4 + 0.24 * (len(shown) + bool(left_out))) as figure:
        axes = figure.add_subplot()
        after = [row.expected_error if row.expected_error else np.nan for row in shown]
        before = [row.noise_sd_mean for row in shown]
        axes.hlines(places, after, before, color=PLAIN, linewidth=1.4)
        dots = {"markersize": 6, "linestyle": "none"}
        if not single:
            one = [row.noise_sd for row in shown]
            axes.plot(one, places, "|", color=MEAN, label="noise SD, one repetition", **dots)
        axes.plot(
            before, places, "o", color=MEAN, label="noise SD, image" if single else "noise SD, mean", **dots
        )
        axes.plot(after, places, "o", color=ACCENT, label="expected error, denoised", **dots)
        axes.set_yticks(places, [_name(row) for row in shown], fontsize=9)
        axes.set_ylim(places[-1] + 0.7, -0.7)
        axes.set_xlim(left=0)
        if left_out:
            axes.text(0.5, half, f"{left_out} regions between these", ha="center", va="center", fontsize=9,
                      style="italic", transform=axes.get_yaxis_transform())  # fmt: skip
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("image units")
        figure.legend(frameon=False, fontsize=9, loc="outside upper center", ncols=3)
        return render(figure, f"Noise and expected error in {len(measured)} regions, the noisiest first")


def _name(row: RegionRecord) -> str:
    """Name and gain of a region; a star where it has few voxels."""
    name = row.name.replace("_", " ")  # what stands between dollar signs would be typeset as a formula
    if len(name) > _NAME_WIDTH:
        # What tells regions of an atlas apart stands at the end.
        name = f"{name[: _NAME_WIDTH // 3]}…{name[1 - _NAME_WIDTH + _NAME_WIDTH // 3 :]}"
    gain = "" if row.gain_db is None else f" ({row.gain_db:+.1f} dB)".replace("-", "\N{MINUS SIGN}")
    name = name.replace("$", r"\$")
    return f"{name}{'*' if row.few_voxels else ''}{gain}"
