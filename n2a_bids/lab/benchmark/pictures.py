"""Pictures of the benchmark: curves, and zoomed slices of what every method made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.io.files import whole_file

_ZOOM_VOXELS = 64
_MARKERS = "osD^v<>P*Xhd|"


def central_slice(volume: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Zoomed axial slice through the middle of the mask, zero outside it: brain only, no face.

    Parameters
    ----------
    volume : (X, Y, Z) float array
    mask : (X, Y, Z) bool array

    Returns
    -------
    picture : (rows, columns) float32 array
        At most 64 voxels along each side, second axis upwards.
    """
    box = bounding_box(mask)
    middle = (box[2].start + box[2].stop) // 2
    window = []
    for span in box[:2]:
        length = min(_ZOOM_VOXELS, span.stop - span.start)
        start = (span.start + span.stop - length) // 2
        window.append(slice(start, start + length))
    piece = (window[0], window[1], middle)
    return np.where(mask[piece], volume[piece], 0).astype(np.float32).T[::-1]


def draw_slices(slices: Mapping[str, NDArray[np.float32]], title: str, out_file: Path) -> None:
    """Draw truth and results in one grey window, their errors and residuals below.

    Parameters
    ----------
    slices : dict
        Method -> slice; must hold ``truth`` and ``mean``.
    out_file : Path
        PNG, replaced whole.
    """
    names = ["truth", *(name for name in slices if name != "truth")]
    truth, mean = slices["truth"], slices["mean"]
    window = {"cmap": "gray", "vmin": 0, "vmax": float(np.percentile(truth[truth > 0], 99.5))}
    spread = 3 * float(np.std((mean - truth)[truth > 0]))
    difference = {"cmap": "gray", "vmin": -spread, "vmax": spread}
    columns = {
        name: ((slices[name], window), (slices[name] - truth, difference), (mean - slices[name], difference))
        for name in names
    }
    figure = _draw_columns(columns, ("image", "minus truth", "mean minus image"), (1.9 * len(names), 6.2))
    figure.suptitle(title, fontsize=9)
    save_picture(figure, out_file)


def draw_residuals(slices: Mapping[str, NDArray[np.float32]], undenoised: str, out_file: Path) -> None:
    """Draw results where there is no truth: in one grey window, and what each took away below.

    Parameters
    ----------
    slices : dict
        Method -> slice, as `central_slice` cuts it; must hold `undenoised`.
    undenoised : str
        What the others are compared with.
    out_file : Path
        PNG, replaced whole.
    """
    before = slices[undenoised]
    taken = {name: before - image for name, image in slices.items()}
    window = {"cmap": "gray", "vmin": 0, "vmax": float(np.percentile(before[before != 0], 99.5))}
    spread = 3 * max(float(np.std(one[before != 0])) for one in taken.values()) or 1.0
    difference = {"cmap": "gray", "vmin": -spread, "vmax": spread}
    columns = {name: ((image, window), (taken[name], difference)) for name, image in slices.items()}
    labels = ("image", f"{undenoised} minus image")
    figure = _draw_columns(columns, labels, (2.4 * len(slices), 5.0))
    save_picture(figure, out_file)


def _draw_columns(
    columns: Mapping[str, Sequence[tuple[NDArray[np.float32], Mapping[str, Any]]]],
    labels: Sequence[str],
    size: tuple[float, float],
) -> Any:
    """Pictures of each method below each other, with how they are shown; the rows have labels."""
    figure, axes = subplots(len(labels), len(columns), size)
    for column, (name, rows) in enumerate(columns.items()):
        for axis, (picture, style) in zip(axes[:, column], rows, strict=True):
            axis.imshow(picture, interpolation="nearest", **style)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0, column].set_title(name, fontsize=8)
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(label, fontsize=8)
    return figure


def draw_curves(summary: Sequence[Mapping[str, Any]], out_file: Path) -> None:
    """Draw PSNR and SSIM against the noise level, a row per condition and number of repetitions.

    Parameters
    ----------
    summary : sequence of dict
        As `n2a_bids.lab.benchmark.anat.summary.summarise` returns.
    out_file : Path
        PNG, replaced whole.
    """
    panels = list(dict.fromkeys((str(e["condition"]), int(e["n_repetitions"])) for e in summary))
    methods = list(dict.fromkeys(str(e["method"]) for e in summary))
    measures = (("psnr_db", "PSNR (dB)"), ("edge_psnr_db", "edge PSNR (dB)"), ("ssim", "SSIM"))
    figure, axes = subplots(len(panels), len(measures), (4 * len(measures), 2.8 * len(panels) + 0.6))
    for (panel, (measure, label)), axis in zip(product(panels, measures), axes.flat):
        for index, method in enumerate(methods):
            points = [
                (float(e["noise_level"]), float(e[f"{measure}_mean"]), float(e[f"{measure}_sd"]))
                for e in summary
                if ((e["condition"], int(e["n_repetitions"])), e["method"]) == (panel, method)
            ]
            if points:
                level, value, spread = np.array(points).T
                axis.errorbar(level, value, spread, markersize=4, label=method, **_style(index))
        axis.set_title(f"{panel[0]}, {panel[1]} repetitions", fontsize=9)
        axis.set_xlabel("noise SD / tissue SD", fontsize=8)
        axis.set_ylabel(label, fontsize=8)
    drawn = {name: h for axis in axes.flat for h, name in zip(*axis.get_legend_handles_labels())}
    figure.legend([drawn[name] for name in methods], methods, loc="outside upper center", ncols=6, fontsize=7)
    save_picture(figure, out_file)


def _style(index: int) -> dict[str, Any]:  # keyword arguments of matplotlib
    """Colour and marker of a method, for as many as there are pairs of them."""
    from matplotlib import colormaps

    colours = [*colormaps["tab10"].colors, *colormaps["Dark2"].colors]
    return {"color": colours[index % len(colours)], "marker": _MARKERS[index % len(_MARKERS)]}


def subplots(n_rows: int, n_columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """Figure of this size (inches) and its (rows, columns) axes."""
    # the object interface needs no display and leaves no global figure behind
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def save_picture(figure: Any, out_file: Path) -> None:
    """Write a figure as PNG, replaced whole."""
    with whole_file(out_file) as partial:
        figure.savefig(partial, format="png", dpi=130)
