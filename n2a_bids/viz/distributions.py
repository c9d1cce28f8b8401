"""Chart of the distribution of one number over a group, for the group page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from n2a_bids.viz import svg

_WIDTH, _HEIGHT, _BASE, _SIDE = 560.0, 150.0, 112.0, 16.0
_MOST_DOTS = 400
"""Up to so many values, each is a dot; above, only unusual ones are."""
_SAME = 1e-6
"""Values that differ by less of the largest of them are one value: the tables show six digits."""


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a distribution."""

    value: float
    label: str
    """Told when pointed at."""
    href: str
    """Where a click leads."""
    unusual: bool = False


def distribution(points: Sequence[Point], *, title: str, logarithmic: bool = False) -> str:
    """Histogram with median and quartiles; unusual values are red dots that lead to their reports.

    Parameters
    ----------
    points : sequence of Point
        Values that are not finite are left out.
    title : str
        Read out by screen readers.
    logarithmic : bool
        Bins and axis of equal ratio; values must be positive, others are left out.
    """
    shown = [point for point in points if np.isfinite(point.value) and (point.value > 0 or not logarithmic)]
    if not shown:
        return svg.document(_WIDTH, 30, svg.text(4, 20, "no values", fill=svg.MUTED), title=title)
    values = np.array([point.value for point in shown])
    # Between -1 and 1, where differences neither overflow nor drown in rounding.
    scale = float(np.abs(values).max()) or 1.0
    positions = np.log10(values) if logarithmic else values / scale
    low, high = float(positions.min()), float(positions.max())
    if high - low <= _SAME:
        positions = np.full_like(positions, low)
        low, high = low - 0.5, low + 0.5

    def across(position: NDArray | float) -> NDArray | float:
        return _SIDE + (position - low) / (high - low) * (_WIDTH - 2 * _SIDE)

    parts = [_bars(positions, low, high), _quartiles(across(np.percentile(positions, [25, 50, 75])))]
    dots = [index for index, point in enumerate(shown) if point.unusual or len(shown) <= _MOST_DOTS]
    heights = _spread_out(positions[dots])
    for index, height in sorted(zip(dots, heights, strict=True), key=lambda pair: shown[pair[0]].unusual):
        parts.append(_dot(shown[index], float(across(positions[index])), height))
    for position, anchor in _labelled(positions):
        # That of the median is left out where it would run into another.
        if anchor != "middle" or 0.15 < (position - low) / (high - low) < 0.85:
            label = _spelled(10**position if logarithmic else position * scale)
            x = float(across(position))
            parts.append(svg.text(x, _HEIGHT - 6, label, size=13, fill=svg.INK, anchor=anchor))
    return svg.document(_WIDTH, _HEIGHT, "".join(parts), title=title, interactive=True)


def _bars(positions: NDArray, low: float, high: float) -> str:
    """Histogram, as one path."""
    # Odd: the middle one is around a single value.
    n_bins = int(np.clip(np.sqrt(positions.size) * 2, 8, 60)) | 1
    counts, _ = np.histogram(positions, bins=n_bins, range=(low, high))
    width = (_WIDTH - 2 * _SIDE) / n_bins
    heights = counts / counts.max() * 66
    path = "".join(
        f"M{_SIDE + index * width:.1f},{_BASE}v{-height:.1f}h{max(width - 1, 0.5):.1f}v{height:.1f}Z"
        for index, height in enumerate(heights)
        if height > 0
    )
    axis = f'<path d="M{_SIDE},{_BASE}H{_WIDTH - _SIDE}" stroke="{svg.MUTED}" stroke-width="1"/>'
    return f'<path d="{path}" fill="#c3d4e3"/>{axis}'


def _quartiles(x: NDArray) -> str:
    """Line from the first to the third quartile, and a mark at the median, below the axis."""
    y = _BASE + 9
    return (
        f'<path d="M{x[0]:.1f},{y}H{x[2]:.1f}" stroke="{svg.INK}" stroke-width="3"/>'
        f'<path d="M{x[1]:.1f},{y - 6}v12" stroke="{svg.INK}" stroke-width="3"/>'
    )


def _labelled(positions: NDArray) -> list[tuple[float, Literal["start", "middle", "end"]]]:
    """Where the axis has labels, and how they are set: at both ends and the median, or at the one value."""
    low, middle, high = float(positions.min()), float(np.median(positions)), float(positions.max())
    if low == high:
        return [(middle, "middle")]
    return [(low, "start"), (middle, "middle"), (high, "end")]


def _spelled(value: float) -> str:
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _spread_out(positions: NDArray) -> NDArray:
    """Heights of dots, so that neighbours do not hide each other: turn by turn on five lines."""
    heights = np.empty(positions.size)
    heights[np.argsort(positions, kind="stable")] = 14 + 12 * (np.arange(positions.size) * 2 % 5)
    return heights


def _dot(point: Point, x: float, y: float) -> str:
    """One value, with its name and a link."""
    colour, radius = ("#c0142c", 5.5) if point.unusual else ("#3d5a80", 3.5)
    label, address = svg.attribute_text(f"{point.label}: {point.value:.4g}"), svg.attribute_text(point.href)
    return (
        f'<a href="{address}"><circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" '
        f'fill-opacity="0.75"><title>{label}</title></circle></a>'
    )
