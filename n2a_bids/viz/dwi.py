"""Figures of diffusion series: distortion, tensor maps, gradient table, quality and motion of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import ticker
from matplotlib.ticker import LogFormatter, MaxNLocator
from numpy.typing import NDArray

from n2a_bids.algorithms.noise.estimate import robust_sd
from n2a_bids.viz import svg
from n2a_bids.viz.charts import SERIES, drawing, render
from n2a_bids.viz.layout import State, columns, flicker, windowed_painter
from n2a_bids.viz.view import Frame, evenly_spaced_cuts, grey_window, to_grey

_MOST_COLOURS = 5
"""Of b-values: more shells share colours, as ranges."""


def distortion_flicker(
    first_before: NDArray,
    second_before: NDArray,
    first_after: NDArray,
    second_after: NDArray,
    frame: Frame,
    *,
    names: tuple[str, str] = ("AP", "PA"),
) -> str:
    """Two b0s of opposite phase encoding, before and after correction, in one grey window.

    Parameters
    ----------
    first_before, second_before, first_after, second_after : (X, Y, Z) arrays
        In one intensity unit.
    frame : Frame
        What is shown.
    names : (str, str)
        Of the two directions.
    """
    window = grey_window([first_after, second_after], frame.mask)
    volumes = (first_before, second_before, first_after, second_after)
    labels = (f"{names[0]} before", f"{names[1]} before", f"{names[0]} corrected", f"{names[1]} corrected")
    states = [
        State(label, windowed_painter(volume, window)) for label, volume in zip(labels, volumes, strict=True)
    ]
    return flicker(frame, states, title="Correction of susceptibility distortion")


def tensor_maps(
    fa_mean: NDArray,
    fa_denoised: NDArray,
    frame: Frame,
    *,
    directions: Sequence[NDArray] | None = None,
    before: str = "mean",
) -> str:
    """Fractional anisotropy of the mean and of the denoised series side by side, black 0 and white 1.

    Parameters
    ----------
    fa_mean, fa_denoised : (X, Y, Z) arrays
        Between 0 and 1.
    frame : Frame
        What is shown.
    directions : two (X, Y, Z, 3) arrays, optional
        First eigenvectors in RAS order; red is left-right, green anterior-posterior, blue superior-inferior.
    before : str
        What the denoised series is compared with.
    """
    maps = []
    for index, anisotropy in enumerate((fa_mean, fa_denoised)):
        shown = np.where(frame.mask, np.nan_to_num(anisotropy), 0.0)
        if directions is None:
            maps.append(to_grey(shown, (0.0, 1.0)))
        else:
            colour = np.abs(np.nan_to_num(directions[index])) * shown[..., None]
            maps.append(to_grey(colour, (0.0, 0.9)))
    rows = []
    for counts in ({"axial": 2}, {"coronal": 2}):
        cuts = evenly_spaced_cuts(frame, counts)
        rows.append([(cut, svg.png_uri(cut.of(colours))) for cut in cuts for colours in maps])
    title = f"Fractional anisotropy: {before} and denoised"
    return columns(frame, (before, "denoised") * 2, rows, title=title, pixelated=False)


def gradient_plot(tables: Sequence[tuple[NDArray, NDArray]], labels: Sequence[str] = ()) -> str:
    """Directions of every series on the half sphere (equal-area projection), one colour for each shell.

    Parameters
    ----------
    tables : sequence of (shells, bvecs)
        (N,) b-values rounded to their shell, in s/mm2 and 0 for b0, and (N, 3).
    labels : sequence of str
        Name of each series.
    """
    ranges = _b_ranges(np.concatenate([rounded for rounded, _ in tables]))
    # A page stretches narrow figures: one table gets the width of other charts.
    with drawing(min(max(3.6 * len(tables) + 1.4, 8.2), 10.5), 3.7) as figure:
        grid = figure.subplots(1, len(tables), squeeze=False)[0]
        for index, (axes, (rounded, bvecs)) in enumerate(zip(grid, tables, strict=True)):
            for shell, (low, high) in enumerate(ranges):
                points = _project(bvecs[(rounded >= low) & (rounded <= high) & (rounded > 0)])
                colour = SERIES[shell % len(SERIES)]
                label = f"{_range_text(low, high)} ({len(points)})"
                axes.scatter(
                    points[:, 0],
                    points[:, 1],
                    s=26,
                    color=colour,
                    edgecolor="white",
                    linewidth=0.6,
                    label=label,
                )
            turn = np.linspace(0, 2 * np.pi, 181)
            axes.plot(np.sqrt(2) * np.cos(turn), np.sqrt(2) * np.sin(turn), color="#8a94a1", linewidth=1)
            name = labels[index] if index < len(labels) else f"series {index + 1}"
            counts = f"{int(np.sum(rounded == 0))} b0, {int(np.sum(rounded > 0))} directions"
            axes.set_title(f"{name}: {counts}" if labels or len(tables) > 1 else counts, fontsize=11)
            axes.set_aspect("equal")
            axes.set_axis_off()
            axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=2)
        return render(figure, "Directions of the diffusion encoding")


def _b_ranges(shells: NDArray) -> list[tuple[float, float]]:
    """Lowest and highest weighted b-value of each colour: a shell each, or ranges where shells are many."""
    weighted = np.unique(shells[shells > 0])
    if not weighted.size:
        return []
    parts = np.array_split(weighted, min(weighted.size, _MOST_COLOURS))
    return [(float(part[0]), float(part[-1])) for part in parts]


def _range_text(low: float, high: float) -> str:
    return f"b = {low:g}" if low == high else f"b = {low:g} to {high:g}"


def _project(bvecs: NDArray) -> NDArray:
    """Equal-area projection of directions, turned to the upper half sphere; (N, 2)."""
    upright = np.where(bvecs[:, 2:] < 0, -bvecs, bvecs)
    length = np.maximum(np.linalg.norm(upright, axis=1, keepdims=True), 1e-12)
    x, y, z = (upright / length).T
    stretch = np.sqrt(2 / (1 + np.clip(z, 0, 1)))
    return np.stack([x * stretch, y * stretch], axis=1)


def volume_quality(
    mean: NDArray,
    denoised: NDArray,
    mask: NDArray[np.bool_],
    shells: NDArray,
    *,
    noise_sd: NDArray | None = None,
    noise_label: str = "noise SD of one repetition",
) -> str:
    """Signal and residual of every volume: an outlier volume stands out.

    Parameters
    ----------
    mean, denoised : (X, Y, Z, N) arrays
        In one intensity unit.
    mask : (X, Y, Z) bool array
        Brain mask.
    shells : (N,) array
        b-values rounded to their shell, in s/mm2, 0 for b0.
    noise_sd : (X, Y, Z) or (X, Y, Z, N) array, optional
        Noise SD of one repetition.
    noise_label : str
        What its line is called.
    """
    before, after = mean[mask], denoised[mask]
    signal = np.median(after, axis=0)
    residual = np.array([_spread(values) for values in (before - after).T])
    noise = None if noise_sd is None else _per_volume(noise_sd, mask, len(signal))
    with drawing(8.2, 3.4) as figure:
        axes = figure.add_subplot()
        unweighted = [(0.0, 0.0)] if (shells == 0).any() else []
        for index, (low, high) in enumerate(unweighted + _b_ranges(shells)):
            members = np.flatnonzero((shells >= low) & (shells <= high))
            colour = SERIES[index % len(SERIES)]
            label = f"signal, {_range_text(low, high)}{_snr(signal[members], noise, members)}"
            axes.plot(members, signal[members], "o", color=colour, markersize=5, label=label)
            axes.plot(members, residual[members], "x", color=colour, markersize=5)
        axes.plot([], [], "x", color=svg.MUTED, label="SD of what was removed")
        if noise is not None:
            axes.plot(noise, color=svg.MUTED, linewidth=1.4, label=noise_label)
        axes.set_yscale("log")
        for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            which(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="volume", ylabel="median over the brain")
        axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        return render(figure, "Signal, removed residual and noise of every volume")


def _snr(signal: NDArray, noise: NDArray | None, members: NDArray) -> str:
    """Range over volumes of the median signal over the noise of one repetition."""
    if noise is None or not (noise[members] > 0).all():
        return ""
    low, high = (float(bound(signal / noise[members])) for bound in (np.min, np.max))
    return f" (SNR {low:.1f})" if f"{low:.1f}" == f"{high:.1f}" else f" (SNR {low:.1f} to {high:.1f})"


def _per_volume(noise_sd: NDArray, mask: NDArray[np.bool_], n_volumes: int) -> NDArray:
    """Median noise SD of each volume."""
    if noise_sd.ndim == 3:
        return np.full(n_volumes, np.median(noise_sd[mask]))
    return np.array([np.median(noise_sd[..., volume][mask]) for volume in range(noise_sd.shape[-1])])


def _spread(values: NDArray) -> float:
    """Robust SD, kept above zero for the logarithmic axis."""
    return max(robust_sd(values - np.median(values)), 1e-9)


@dataclass(frozen=True, slots=True)
class MotionCurve:
    """How the head lay in every volume of a series, relative to its first b0."""

    name: str
    number: Sequence[int]
    """(C,) of the volumes, in the order in which they were acquired; they may stand here in another."""
    rotation_deg: Sequence[float]
    """(C,) angle of the whole rotation."""
    translation_mm: Sequence[float]
    """(C,) distance that the centre of the brain moved."""


def motion_curves(series: Sequence[MotionCurve]) -> str:
    """Translation and rotation of every volume, a line for each series."""
    with drawing(8.2, 4.2) as figure:
        above, below = figure.subplots(2, 1, sharex=True)
        for index, one in enumerate(series):
            style = {"color": SERIES[index % len(SERIES)], "marker": "o", "markersize": 3, "linewidth": 1.4}
            numbers, order = np.sort(one.number), np.argsort(one.number)
            above.plot(numbers, np.take(one.translation_mm, order), label=one.name, **style)
            below.plot(numbers, np.take(one.rotation_deg, order), **style)
        above.set(ylabel="translation (mm)")
        below.set(ylabel="rotation (degrees)", xlabel="volume")
        for axes, least in ((above, 0.5), (below, 0.5)):
            # A still head is to look still: half a millimetre never fills the height.
            axes.set_ylim(0, max(1.05 * axes.dataLim.y1, least))
        below.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        above.legend(frameon=False, fontsize=9, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0))
        return render(figure, "Motion of every volume: translation and rotation")
