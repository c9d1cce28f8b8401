"""Denoises whole micrograph planes in overlapping tiles without seams, by any function of a tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.averaging import RepetitionWeights
from n2a_bids.algorithms.masked_filters import box_within
from n2a_bids.algorithms.micrographs.stabilised import StableScale

Image = NDArray[np.float32]

_BYTES_PER_PIXEL = 1000
"""Of a tile while it is denoised: five maps of 32 channels in single precision, and some copies."""
_LARGEST_EDGE, _SMALLEST_EDGE = 2048, 256
_STRIDE = 64
"""Tiles begin at multiples of it, as the coarse levels of networks do."""


class Estimate(Protocol):
    """Of a stabilised (x, y) tile; the result has its shape."""

    def __call__(self, tile: Image, noise_factor: Image | float = 1.0) -> Image:
        """Denoise a tile, whose noise SD may be a multiple of what the estimate was made for."""
        ...


@dataclass(frozen=True, slots=True)
class TileEstimate:
    """An estimate that can be made tile by tile."""

    estimate: Estimate
    reach_pixels: int
    """How far a pixel of the result looks."""


def denoise_planes(
    exposures: NDArray[np.float32],
    scale: StableScale,
    method: TileEstimate,
    weighting: RepetitionWeights,
    *,
    n_measured: NDArray[np.float32] | None = None,
    each: bool = False,
    memory_gb: float = 6.0,
    report: Callable[[str], None] = lambda message: None,
) -> NDArray[np.float32]:
    """Denoise the mean of the exposures, or each of them, then average, and return to intensities.

    Parameters
    ----------
    exposures : (R, X, Y, Z) float array
        One channel, in one unit.
    weighting : RepetitionWeights
        Of the exposures in their average.
    n_measured : (X, Y, Z) float array, optional
        Exposures that were measured at each pixel, where others stand in; all by default.
    each : bool
        Whether every exposure is denoised by itself, before averaging.
    memory_gb : float
        For one tile; smaller tiles never give another result up to rounding.
    report : callable
        Told of progress.

    Returns
    -------
    denoised : (X, Y, Z) float32 array
    """
    n_effective = weighting.n_effective
    denoised = np.empty(exposures.shape[1:], np.float32)
    tiles = list(_tiles(denoised.shape, method.reach_pixels, memory_gb))
    for number, (core, box, inside) in enumerate(tiles, start=1):
        if len(tiles) > 1:
            report(f"tile {number} of {len(tiles)}")
        read = exposures[(slice(None), *box)]
        more = 1.0 if n_measured is None else _noise_factor(n_measured[box], 1 if each else len(read))
        if each:
            estimates = [method.estimate(scale.apply(image), more)[inside] for image in read]
            denoised[core] = scale.invert(weighting.average(np.stack(estimates)))
        else:
            mean = scale.apply(weighting.average(read), n_effective)
            denoised[core] = scale.invert(method.estimate(mean, more)[inside], n_effective)
    return denoised


def _noise_factor(n_measured: NDArray[np.float32], n_expected: int) -> Image:
    """SD of the noise over that of so many exposures, where fewer were measured; 1 where they were."""
    return np.sqrt(np.maximum(n_expected / n_measured, 1)).astype(np.float32)


def _tiles(
    shape: tuple[int, ...], reach: int, memory_gb: float
) -> Iterator[tuple[tuple[slice, slice, int], tuple[slice, slice, int], tuple[slice, slice]]]:
    """Core of each tile, the box that is read for it, and where the core lies in the box."""
    affordable = int(np.sqrt(memory_gb * 1e9 / _BYTES_PER_PIXEL)) - 2 * reach
    edge = int(np.clip(affordable, _SMALLEST_EDGE, _LARGEST_EDGE)) // _STRIDE * _STRIDE
    halo = -(-reach // _STRIDE) * _STRIDE
    for plane in range(shape[2]):
        for x in range(0, shape[0], edge):
            for y in range(0, shape[1], edge):
                low = (x, y)
                core = tuple(slice(start, min(start + edge, size)) for start, size in zip(low, shape))
                box = tuple(
                    slice(max(part.start - halo, 0), min(part.stop + halo, size))
                    for part, size in zip(core, shape)
                )
                yield (*core, plane), (*box, plane), box_within(core, box)
