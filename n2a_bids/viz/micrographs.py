"""Figures of micrographs: before and after, detail, residual, resolution (FRC), spectrum, drift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from n2a_bids.record.denoising import RingCorrelationRecord
from n2a_bids.viz import svg
from n2a_bids.viz.charts import SERIES, drawing, render
from n2a_bids.viz.layout import COLUMNS_TOP, GAP, HEADER, WIDTH, column_heads, on_black, stack
from n2a_bids.viz.view import grey_window, to_grey

_NAMES = ("one exposure", "mean", "denoised")
_MOST_PIXELS = 900
"""Edge of an image in the page; larger ones are averaged down."""
_DETAIL_PIXELS = 160
_LIMIT_SD = 4.0
_MOST_TICKS = 16
_FINEST_PERIOD_PIXELS = 2.0


def image_flicker(exposure: NDArray, mean: NDArray, denoised: NDArray) -> str:
    """Three images on top of each other, in one grey window; all (rows, columns)."""
    images = [_binned(one) for one in (exposure, mean, denoised)]
    window = grey_window(images, np.ones(images[0].shape, bool))
    width = WIDTH - 2 * GAP
    height = width * images[0].shape[0] / images[0].shape[1]
    layers = [svg.picture(GAP, HEADER, width, height, svg.png_uri(to_grey(one, window))) for one in images]
    return stack(_NAMES, layers, HEADER + height + GAP, title="One exposure, mean and denoised image")


def detail(exposure: NDArray, mean: NDArray, denoised: NDArray) -> str:
    """The square with the most structure, pixel by pixel, side by side; all (rows, columns)."""
    row, column, edge = _richest_square(denoised)
    images = [one[row : row + edge, column : column + edge] for one in (exposure, mean, denoised)]
    window = grey_window(images, np.ones(images[0].shape, bool))
    left, width, heads = column_heads(_NAMES)
    height = width * images[0].shape[0] / images[0].shape[1]
    pictures = (
        svg.picture(x, COLUMNS_TOP, width, height, svg.png_uri(to_grey(image, window)), pixelated=True)
        for x, image in zip(left, images, strict=True)
    )
    title = "Detail of one exposure, mean and denoised image"
    return on_black(COLUMNS_TOP + height + GAP, heads + "".join(pictures), title=title)


def residual_picture(residual: NDArray, noise_sd: NDArray) -> str:
    """What was taken away, in noise SDs of the mean; both (rows, columns)."""
    unit = np.where(noise_sd > 0, noise_sd, np.inf)
    image = _cropped(residual / unit)
    width = WIDTH - 2 * GAP
    height = width * image.shape[0] / image.shape[1]
    uri = svg.png_uri(to_grey(image, (-_LIMIT_SD, _LIMIT_SD)), "cold-hot")
    ticks = [f"{value:+g}" for value in (-_LIMIT_SD, 0, _LIMIT_SD)]
    bar = svg.colour_bar(WIDTH / 2, GAP + height + 12, 300, "cold-hot", ticks, "noise SD of the mean")
    picture = svg.picture(GAP, GAP, width, height, uri, pixelated=True)
    return on_black(height + 70, picture + bar, title="Residual")


def ring_chart(
    rings: RingCorrelationRecord | None, mean: NDArray, denoised: NDArray, pixel_nm: float | None
) -> str:
    """Ring correlation of the halves before and after denoising, and the spectra of mean and denoised image.

    Parameters
    ----------
    rings : RingCorrelationRecord or None
        None where it was not measured: spectra alone.
    mean, denoised : (rows, columns) arrays
    pixel_nm : float, optional
        Size of a pixel; None where it is not known, so that resolution is in pixels.
    """
    with drawing(9.2, 3.4) as figure:
        panels = figure.subplots(1, 2 if rings else 1, squeeze=False)[0]
        if rings:
            _draw_rings(panels[0], rings, pixel_nm)
        for image, name, colour in ((mean, "mean", SERIES[1]), (denoised, "denoised", SERIES[0])):
            frequency, power = radial_spectrum(image)
            panels[-1].semilogy(frequency, power, color=colour, linewidth=1.6, label=name)
        panels[-1].set(xlabel="cycles per pixel", ylabel="power", xlim=(0, 0.5))
        panels[-1].legend(frameon=False, fontsize=9)
        return render(figure, "Fourier ring correlation and power spectrum")


def _draw_rings(axes, rings: RingCorrelationRecord, pixel_nm: float | None) -> None:
    unit, scale = ("pixels", 1.0) if pixel_nm is None else ("nm", pixel_nm)

    def resolved(pixels: float | None) -> str:
        if pixels is None:
            return "none"
        # A curve that stays above the threshold ends at the finest period that pixels hold.
        finer = "finer than " if pixels <= _FINEST_PERIOD_PIXELS else ""
        return f"{finer}{pixels * scale:.3g} {unit}"

    rows = (
        ("as measured", rings.before, rings.pixels_before, rings.one_bit_pixels_before, SERIES[1]),
        ("denoised", rings.after, rings.pixels_after, rings.one_bit_pixels_after, SERIES[0]),
    )
    for name, curve, seventh, one_bit, colour in rows:
        label = f"{name}: {resolved(seventh)} at 1/7, {resolved(one_bit)} at one bit"
        axes.plot(rings.frequency, curve, color=colour, linewidth=1.6, label=label)
    axes.axhline(1 / 7, color="0.5", linewidth=0.9, linestyle="--")
    axes.plot(rings.frequency, rings.one_bit, color="0.5", linewidth=0.9, linestyle=":")
    axes.set(xlabel="cycles per pixel", ylabel="ring correlation", xlim=(0, 0.5), ylim=(-0.1, 1.05))
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))


def radial_spectrum(image: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Power of an image, averaged over rings of one spatial frequency.

    Parameters
    ----------
    image : (rows, columns) array

    Returns
    -------
    frequency, power : (N,) arrays
        Cycles per pixel, 0 excluded, up to 0.5.
    """
    rows, columns = image.shape
    window = np.hanning(rows)[:, None] * np.hanning(columns)
    power = np.abs(np.fft.rfft2((image - image.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns))
    n_rings = max(min(rows, columns) // 2, 2)
    ring = np.minimum((radius * 2 * n_rings).astype(int), n_rings)
    counts = np.bincount(ring.ravel(), minlength=n_rings + 1)
    sums = np.bincount(ring.ravel(), power.ravel(), minlength=n_rings + 1)
    kept = slice(1, n_rings)
    frequency = (np.arange(n_rings + 1) + 0.5) / (2 * n_rings)
    return frequency[kept], (sums / np.maximum(counts, 1))[kept]


def drift_chart(shifts_pixels: Sequence[Sequence[float]], what: str = "exposure") -> str:
    """Where each exposure, or frame, lay relative to the first, in columns and rows; empty if none moved."""
    if not np.any(shifts_pixels):
        return ""
    shifts = np.asarray(shifts_pixels)
    with drawing(8.2, 2.8) as figure:
        axes = figure.add_subplot()
        numbers = np.arange(1, len(shifts) + 1)
        for axis, name in enumerate(("columns", "rows")):
            colour = SERIES[axis]
            axes.plot(
                numbers, shifts[:, axis], color=colour, marker="o", linewidth=1.6, label=f"along {name}"
            )
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(_MOST_TICKS, integer=True, min_n_ticks=1))
        axes.set(xlabel=what, ylabel="drift (pixels)")
        axes.legend(frameon=False, fontsize=10)
        return render(figure, f"Drift of {len(shifts)} {what}s")


def _binned(image: NDArray) -> NDArray:
    """Averaged down to what a page can show."""
    step = int(np.ceil(max(image.shape) / _MOST_PIXELS))
    rows, columns = (max(length // step, 1) for length in image.shape)
    kept = image[: rows * step, : columns * step]
    return kept.reshape(rows, -1, columns, step).mean(axis=(1, 3)) if step > 1 else image


def _cropped(image: NDArray) -> NDArray:
    """The middle, where an image is too large to be shown pixel by pixel: averaging would hide noise."""
    starts = [max((length - _MOST_PIXELS) // 2, 0) for length in image.shape]
    return image[starts[0] : starts[0] + _MOST_PIXELS, starts[1] : starts[1] + _MOST_PIXELS]


def _richest_square(image: NDArray) -> tuple[int, int, int]:
    """First row, first column and edge of the square that varies most."""
    edge = min(_DETAIL_PIXELS, *image.shape)
    best = (-1.0, 0, 0)
    for row in range(0, image.shape[0] - edge + 1, max(edge // 2, 1)):
        for column in range(0, image.shape[1] - edge + 1, max(edge // 2, 1)):
            spread = float(image[row : row + edge, column : column + edge].std())
            best = max(best, (spread, row, column))
    return best[1], best[2], edge
