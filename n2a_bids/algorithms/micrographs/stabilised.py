"""Exposures as networks see them: noise stabilised, in one scale, by channel, large images in windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.averaging import RepetitionWeights
from n2a_bids.algorithms.micrographs.counting_noise import CountingNoise, Stabiliser, fit_counting_noise
from n2a_bids.algorithms.micrographs.weighting import weigh_exposures
from n2a_bids.algorithms.normalization import with_equal_gain
from n2a_bids.algorithms.preparation.repetitions import Prepared
from n2a_bids.algorithms.repetitions import Repetitions, averaged
from n2a_bids.algorithms.risk.held_out import HeldOut

Image = NDArray[np.float32]

_MOST_PIXELS = 4_500_000
"""Larger images are learned from and judged in windows."""
_WINDOW_EDGE = 512
_CORE_EDGE, _CONTEXT_PIXELS = 128, 32
"""Of the squares that are held out, and around them for prediction."""
_HELD_OUT_PART, _FEWEST_CORES, _MOST_CORES = 0.12, 6, 24
ENOUGH_PIXELS = 130_000
"""To tell a gain to 0.1 dB; of 7,000 it was off by up to 0.5 dB. Where nothing is trained, they cost time
alone."""
_VOID_EDGE = 9
_LEAST_VOID = 1e-4
"""Part of the pixels that must be alike before areas of them are looked for."""
CAP_VARIANCES = 25.0
"""Squared differences of exposures count as no more noise variances."""


@dataclass(frozen=True, slots=True)
class StableScale:
    """From intensities to what networks see, and back."""

    noise: CountingNoise
    offset: float
    """Subtracted from stabilised values."""
    spread: float
    """By which they are divided: the SD of the image without noise."""

    def apply(self, image: Image, n_exposures: float = 1) -> Image:
        """Stabilised, centred and scaled mean of some exposures; the input is not modified."""
        stable = Stabiliser(self.noise, n_exposures).apply(image) / np.float32(np.sqrt(n_exposures))
        return (stable - np.float32(self.offset)) / np.float32(self.spread)

    def invert(self, values: Image, n_exposures: float = 1) -> Image:
        """Expected intensity of an estimate made of the mean of some exposures."""
        stable = values * np.float32(self.spread) + np.float32(self.offset)
        return Stabiliser(self.noise, n_exposures).invert(stable * np.float32(np.sqrt(n_exposures)))


@dataclass(frozen=True, slots=True)
class StableFields:
    """Stabilised exposures of one channel."""

    images: NDArray[np.float32]
    """(R, N, X, Y): N planes, or windows of planes."""
    counted: NDArray[np.bool_]
    """(N, X, Y) pixels that tell something: measured in every exposure and saturated in none."""
    scale: StableScale
    noise_sd: float
    """Of one exposure on average, in the unit of `images`."""
    weighting: RepetitionWeights
    """Of the exposures, by their noise."""
    n_measured: NDArray[np.float32] | None = None
    """(X, Y, Z) of whole planes, as in `Repetitions`; None where all were measured everywhere."""

    @property
    def average_noise_sd(self) -> float:
        """Of the weighted average of the exposures."""
        return self.noise_sd / float(np.sqrt(self.weighting.n_effective))

    def as_prepared(self) -> Prepared:
        """The same for the comparison of candidates, which takes volumes: planes along the first axis."""
        return Prepared(
            images=self.images,
            scales=(),
            mask=self.counted,
            head=self.counted,
            weighting=self.weighting,
            repetition_noise_sd=np.full(self.counted.shape, self.noise_sd, np.float32),
            magnitude=None,
        )


def prepare_fields(
    exposures: NDArray[np.float32], mask: NDArray[np.bool_], generator: torch.Generator
) -> StableFields:
    """Find the noise of one channel, and stabilise its planes or windows of them.

    Parameters
    ----------
    exposures : (R, X, Y, Z) float array
        At least two, in one unit.
    mask : (X, Y, Z) bool array
        Pixels that count.
    generator : torch.Generator
        Chooses the windows.

    Raises
    ------
    ValueError
        If a value is not finite, or the exposures do not differ.
    """
    if not np.isfinite(exposures).all():
        raise ValueError("the exposures contain NaN or infinite values")
    noise = fit_counting_noise(exposures, mask)
    if noise.gain == 0 and noise.offset <= 0:
        raise ValueError("the exposures do not differ: they are copies of one, and nothing tells their noise")
    windows = _choose_windows(mask, generator)
    counted = np.stack([mask[window] for window in windows])
    stabiliser = Stabiliser(noise)
    stable = np.stack([[stabiliser.apply(exposure[window]) for window in windows] for exposure in exposures])
    variance = _noise_variance(stable, counted)
    weighting = weigh_exposures(stable, counted)
    mean = weighting.average(stable)[counted]
    offset = float(mean.mean(dtype=np.float64))
    power = float(mean.var(dtype=np.float64)) - variance / weighting.n_effective
    spread = float(np.sqrt(max(power, 0.01 * variance)))
    stable -= np.float32(offset)
    stable /= np.float32(spread)
    scale = StableScale(noise, offset, spread)
    return StableFields(stable, counted, scale, float(np.sqrt(variance)) / spread, weighting)


def find_void(exposures: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Areas where all exposures hold the same values: padding, text, and no measurement.

    Parameters
    ----------
    exposures : (R, X, Y, Z) array
        One channel.

    Returns
    -------
    void : (X, Y, Z) bool array
        Squares of 9 pixels and larger; single pixels are alike by chance.
    """
    alike = (exposures[1:] == exposures[0]).all(axis=0)
    if alike.mean() < _LEAST_VOID:
        return np.zeros(alike.shape, bool)
    size = (_VOID_EDGE, _VOID_EDGE, 1)
    inner = ndimage.minimum_filter(alike, size, mode="nearest")
    return ndimage.maximum_filter(inner, size, mode="nearest") & alike


def _choose_windows(mask: NDArray[np.bool_], generator: torch.Generator) -> list[tuple[slice, slice, int]]:
    """All planes, or of many or large ones some windows of equal size, where pixels count."""
    x, y, n_planes = mask.shape
    if mask.size <= _MOST_PIXELS:
        return [(slice(0, x), slice(0, y), plane) for plane in range(n_planes)]
    edges = (min(_WINDOW_EDGE, x), min(_WINDOW_EDGE, y))
    n_chosen = max(_MOST_PIXELS // (edges[0] * edges[1]), 4)
    grid = [
        (slice(low_x, low_x + edges[0]), slice(low_y, low_y + edges[1]), plane)
        for plane in range(n_planes)
        for low_x in range(0, x - edges[0] + 1, edges[0])
        for low_y in range(0, y - edges[1] + 1, edges[1])
    ]
    order = torch.randperm(len(grid), generator=generator).tolist()
    useful = [grid[index] for index in order if mask[grid[index]].mean() > 0.5]
    if useful:
        return useful[:n_chosen]
    fullest = max(grid, key=lambda window: int(mask[window].sum()))
    return [fullest] if mask[fullest].any() else [_window_around(mask, edges)]


def _window_around(mask: NDArray[np.bool_], edges: tuple[int, int]) -> tuple[slice, slice, int]:
    """A window that holds a pixel that counts: the middle one of those in reading order."""
    *middle, plane = np.argwhere(mask)[mask.sum() // 2].tolist()
    low = [min(max(at - edge // 2, 0), size - edge) for at, edge, size in zip(middle, edges, mask.shape)]
    return (slice(low[0], low[0] + edges[0]), slice(low[1], low[1] + edges[1]), plane)


def _noise_variance(stable: NDArray[np.float32], counted: NDArray[np.bool_]) -> float:
    """Noise variance of one stabilised exposure, without outliers."""
    values = stable[:, counted]
    variance = values.var(axis=0, ddof=1, dtype=np.float64)
    usual = float(np.mean(variance))
    for _ in range(3):
        usual = float(np.mean(np.minimum(variance, CAP_VARIANCES * usual)))
    return usual


def hold_out_squares(
    fields: StableFields, generator: torch.Generator, *, most: int = _MOST_CORES, trains: bool = True
) -> HeldOut:
    """Choose at most so many squares spread over the planes, which training never sees as targets.

    Parameters
    ----------
    fields : StableFields
    generator : torch.Generator
    most : int
        Squares.
    trains : bool
        Something is trained on what is left; otherwise small images are held out as a whole.

    Returns
    -------
    held_out : HeldOut
        Indices of the (N, X, Y) planes; at least one square.
    """
    shape, n_counted = fields.counted.shape, int(fields.counted.sum())
    n_pixels = _HELD_OUT_PART * n_counted
    if not trains:
        n_pixels = max(n_pixels, min(n_counted, ENOUGH_PIXELS))
    edge = _core_edge(shape, n_pixels, most, covers=not trains)
    corners = [
        (plane, x, y)
        for plane in range(shape[0])
        for x in range(0, shape[1] - edge + 1, edge)
        for y in range(0, shape[2] - edge + 1, edge)
        if fields.counted[plane, x : x + edge, y : y + edge].mean() > 0.5
    ]
    if not corners:
        # The middle of the pixels that count: their mean place may be one where none does.
        plane, x, y = np.argwhere(fields.counted)[fields.counted.sum() // 2].tolist()
        corners = [(plane, min(x, shape[1] - edge), min(y, shape[2] - edge))]
    n_chosen = int(np.clip(n_pixels / edge**2, _FEWEST_CORES, most))
    order = torch.randperm(len(corners), generator=generator)[:n_chosen].tolist()
    cores, boxes, held = [], [], np.zeros(shape, bool)
    for index in sorted(order):
        plane, *low = (int(part) for part in corners[index])
        cores.append((slice(plane, plane + 1), *(slice(first, first + edge) for first in low)))
        boxes.append(
            (
                slice(plane, plane + 1),
                *(
                    slice(max(first - _CONTEXT_PIXELS, 0), min(first + edge + _CONTEXT_PIXELS, size))
                    for first, size in zip(low, shape[1:])
                ),
            )
        )
        held[cores[-1]] = True
    return HeldOut(cores=tuple(cores), boxes=tuple(boxes), mask=held)


def _core_edge(shape: tuple[int, ...], n_pixels: float, most: int, *, covers: bool) -> int:
    """Edge of squares that hold so many pixels; where `covers`, a grid of them leaves little out."""
    affordable = int(np.sqrt(n_pixels / _FEWEST_CORES)) // 4 * 4
    edge = int(np.clip(affordable, 8, min(_CORE_EDGE, *(max(size // 2 // 4 * 4, 4) for size in shape[1:]))))
    # Equal squares that leave no strip out: gains differ between the middle and the rim.
    fitting = min(max(size // -(-size // edge) // 4 * 4, 4) for size in shape[1:])
    return fitting if covers and most * fitting**2 >= n_pixels else edge


@dataclass(frozen=True, slots=True)
class StableChannel:
    """One channel of the exposures."""

    exposures: NDArray[np.float32]
    """(R, X, Y, Z) intensities in the unit of the first exposure."""
    fields: StableFields
    void: NDArray[np.bool_]
    """(X, Y, Z) areas where all exposures hold the same values."""


def stable_channels(repetitions: Repetitions, generator: torch.Generator) -> Iterator[StableChannel]:
    """Stabilise one channel after the other.

    Parameters
    ----------
    repetitions : Repetitions
        At least two aligned exposures.
    generator : torch.Generator
        Chooses windows of large images, of each channel when its turn comes.

    Raises
    ------
    ValueError
        If the exposures of a channel do not differ, or hold values that are not finite.
    """
    data, shared = with_equal_gain(repetitions), repetitions.shared
    counted = repetitions.mask if shared is None else repetitions.mask & shared
    for channel in range(data.shape[-1]):
        exposures = data[..., channel]
        void = find_void(exposures)
        if shared is not None:
            # Where one exposure alone was measured, the others hold its values.
            void &= shared
        if not (counted & ~void).any():
            raise ValueError("the exposures do not differ: they are copies of one, or show nothing")
        fields = prepare_fields(exposures, counted & ~void, generator)
        if repetitions.n_measured is not None:
            fields = replace(fields, n_measured=averaged(repetitions.n_measured))
        yield StableChannel(exposures, fields, void)
