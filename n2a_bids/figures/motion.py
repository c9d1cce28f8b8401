"""Motion of the volumes of a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import ticker

from n2a_bids.figures.charts import SERIES, drawing, render


@dataclass(frozen=True, slots=True)
class SeriesMotion:
    """How the head lay in every volume of a series, relative to its first b0."""

    name: str
    rotation_deg: Sequence[float]
    """(C,) angle of the whole rotation."""
    translation_mm: Sequence[float]
    """(C,) distance that the centre of the brain moved."""


def volume_motion(series: Sequence[SeriesMotion]) -> str:
    """Translation and rotation of every volume, a line for each series.

    Parameters
    ----------
    series : sequence of SeriesMotion
    """
    with drawing(8.2, 4.2) as figure:
        above, below = figure.subplots(2, 1, sharex=True)
        for number, one in enumerate(series):
            style = {"color": SERIES[number % len(SERIES)], "marker": "o", "markersize": 3, "linewidth": 1.4}
            above.plot(one.translation_mm, label=one.name, **style)
            below.plot(one.rotation_deg, **style)
        above.set(ylabel="translation (mm)")
        below.set(ylabel="rotation (degrees)", xlabel="volume")
        for axes, least in ((above, 0.5), (below, 0.5)):
            # A still head is to look still: half a millimetre never fills the height.
            axes.set_ylim(0, max(1.05 * axes.dataLim.y1, least))
        below.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        above.legend(frameon=False, fontsize=9, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0))
        return render(figure, "Motion of every volume: translation and rotation")
