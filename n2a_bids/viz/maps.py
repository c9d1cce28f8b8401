"""Figures of colour maps: residual (what denoising removed) and noise map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.noise.estimate import robust_sd
from n2a_bids.viz import svg
from n2a_bids.viz.layout import (
    WIDTH,
    State,
    annotations,
    flicker,
    lay_out,
    on_black,
    outlines,
    paint_cells,
    shade_outside,
    windowed_painter,
)
from n2a_bids.viz.view import Frame, evenly_spaced_cuts, grey_window

RESIDUAL_LIMIT = 3.0
"""Colour limits of the residual, in noise SD of the mean: noise alone rarely passes them."""
_BAR_HEIGHT = 44.0
_BAR = {"x": WIDTH / 2 - 40, "y": 6.0, "width": 320.0}


def residual_map(
    mean: NDArray,
    denoised: NDArray,
    frame: Frame,
    *,
    repetitions: Sequence[NDArray] = (),
    noise_sd: NDArray | None = None,
    n_repetitions: int = 2,
) -> str:
    """What denoising took away, in units of the noise SD of the mean, with symmetric limits.

    Where two repetitions are given, their difference follows in the same units and colours: noise and
    nothing else. A residual that looks like it holds no anatomy.

    Parameters
    ----------
    mean, denoised : (X, Y, Z) arrays
        In one intensity unit.
    frame : Frame
        What is shown.
    repetitions : up to two (X, Y, Z) arrays
        Aligned repetitions, any gain.
    noise_sd : (X, Y, Z) array, optional
        Noise SD of one repetition in the unit of `mean`; estimated from the repetitions where absent.
    n_repetitions : int
        Number of repetitions in the mean.
    """
    removed = mean - denoised
    window = (-RESIDUAL_LIMIT, RESIDUAL_LIMIT)
    ticks = [f"{value:+g}" if value else "0" for value in np.linspace(*window, 7)]
    difference = _difference(repetitions, mean, frame) if len(repetitions) >= 2 else None
    if difference is not None or noise_sd is not None:
        one_repetition = _noise_unit(noise_sd, difference, frame)
        scale = one_repetition / np.sqrt(n_repetitions)
        unit = "noise SD of the mean" if n_repetitions > 1 else "noise SD"
    else:
        scale, unit = _robust_sd(removed, frame), "its own SD"
    before = "mean" if n_repetitions > 1 else "before"

    def state(name: str, values: NDArray, meaning: str) -> State:
        bar = svg.colour_bar(**_BAR, palette="cold-hot", ticks=ticks, title=meaning)
        return State(name, windowed_painter(values, window, "cold-hot"), bar, outlined=True)

    states = [state("removed by denoising", removed / scale, f"{before} - denoised, in {unit}")]
    if difference is not None:
        noise = difference / (np.sqrt(2) * one_repetition)
        states.append(state("noise alone", noise, "difference of two repetitions, in its noise SD"))
    states.append(State("anatomy", windowed_painter(mean, grey_window([mean], frame.mask))))
    return flicker(frame, states, title="Residual of denoising", resting=0, footer=_BAR_HEIGHT)


def _difference(repetitions: Sequence[NDArray], mean: NDArray, frame: Frame) -> NDArray:
    """Difference of the first two repetitions, each matched to the mean image inside the brain."""
    first, second = (_matched(repetition, mean, frame.mask) for repetition in repetitions[:2])
    return first - second


def _matched(image: NDArray, target: NDArray, mask: NDArray[np.bool_]) -> NDArray:
    """`image` with the gain and offset that bring it to `target`, the mean it is part of, inside the mask.

    Gain = variance of the mean over its covariance with the repetition: both hold the same share of noise
    variance, so that noise does not bias it as it does a plain regression.
    """
    brain = mask & np.isfinite(image) & np.isfinite(target)
    middle_image, middle_target = np.mean(image[brain]), np.mean(target[brain])
    covariance = np.mean((image[brain] - middle_image) * (target[brain] - middle_target))
    gain = np.var(target[brain]) / covariance if covariance > 0 else 1.0
    return gain * (image - middle_image) + middle_target


def _noise_unit(noise_sd: NDArray | None, difference: NDArray | None, frame: Frame) -> NDArray | float:
    """Noise SD of one repetition: the map, kept from vanishing where it is empty, or one number."""
    if noise_sd is None:
        return _robust_sd(difference, frame) / np.sqrt(2)
    inside = noise_sd[frame.mask & np.isfinite(noise_sd)]
    typical = max(float(np.median(inside)) if inside.size else 1.0, 1e-12)
    return np.maximum(np.nan_to_num(noise_sd, nan=typical), 0.2 * typical)


def _robust_sd(values: NDArray, frame: Frame) -> float:
    """SD inside the mask from the median absolute deviation, never zero."""
    inside = values[frame.mask & np.isfinite(values)]
    if not inside.size:
        return 1.0
    return max(robust_sd(inside - np.median(inside)), 1e-12)


def noise_map(
    noise_sd: NDArray, frame: Frame, title: str = "noise SD of one repetition", *, spread: float = 0.0
) -> str:
    """Noise SD of one repetition, or the error to expect, in one row of slices.

    Parameters
    ----------
    noise_sd : (X, Y, Z) array
        In the unit of the image.
    frame : Frame
        What is shown.
    title : str
        Of the scale.
    spread : float
        SD of the intensities in the brain: where it is positive, the scale tells percent of it, too.
    """
    inside = noise_sd[frame.mask & np.isfinite(noise_sd)]
    high = float(np.percentile(inside, 99.5)) if inside.size else 1.0
    window = (0.0, high if high > 0 else 1.0)
    cuts = evenly_spaced_cuts(frame, {"axial": 2, "coronal": 2, "sagittal": 1})
    cells, bottom = lay_out(frame, cuts, top=8, one_row=True)
    ticks = [_tick(value, spread) for value in np.linspace(*window, 3 if spread > 0 else 5)]
    bar = svg.colour_bar(**_BAR, palette="inferno", ticks=ticks, title=title)
    body = (
        paint_cells(cells, windowed_painter(noise_sd, window, "inferno"))
        + shade_outside(cells, frame, 0.4)
        + outlines(cells, frame, stroke="#000000", width=1.2)
        + annotations(cells, frame)
        + f'<g transform="translate(0 {bottom:.2f})">{bar}</g>'
    )
    return on_black(bottom + _BAR_HEIGHT, body, title=f"{title[:1].upper()}{title[1:]}")


def _tick(value: float, spread: float) -> str:
    """A value, and how much of the spread of intensities it is."""
    return f"{value:.3g} ({value / spread:.1%})" if spread > 0 else f"{value:.3g}"
