"""Applies a 2D network to micrographs plane by plane, in overlapping tiles, within bounded memory."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.nn.networks import receptive_radius
from n2a_bids.algorithms.nn.precision import precision_for

FLIPS: tuple[tuple[int, ...], ...] = ((), (0, 1), (0,), (1,))
"""Mirror images over which a prediction can be averaged."""

_OFFSETS = ((0, 0), (0, 0), (2, 2), (2, 2))
"""Pixels by which the grid of the strided layers is moved for each mirror image: over all four, the waves
of 2 and 4 pixels that it leaves on flat ground (a thousandth of the noise SD) cancel."""

_TILE_EDGE = 1024
"""Of the core of a tile, pixels; feature maps of one tile take about 0.4 GB."""

_REFLECTED = 16
"""Pixels beyond the border of the image, so that the zeros around it do not reach it."""


@torch.no_grad()
def predict_plane(
    network: nn.Module,
    image: NDArray[np.float32],
    noise_sd: NDArray[np.float32] | np.float32,
    *,
    device: torch.device,
    tile_edge: int = _TILE_EDGE,
    flips: tuple[tuple[int, ...], ...] = ((),),
) -> NDArray[np.float32]:
    """Denoise one plane.

    Parameters
    ----------
    network : nn.Module
        Predicts residuals of (N, 1, X, Y) images; in eval mode.
    image : (X, Y) float32 array
        What the residual is added to.
    noise_sd : (X, Y) float32 array or float
        Noise SD in the unit of `image`.
    tile_edge : int
        Smaller tiles take less memory, and never give another result up to rounding: they are read with all
        that their pixels depend on.
    flips : tuple of tuple of int
        Axes of the mirror images to average over.

    Returns
    -------
    denoised : (X, Y) float32 array
        No input is modified.
    """
    edge = -(-tile_edge // network.stride) * network.stride
    level = np.broadcast_to(noise_sd, image.shape)
    denoised = np.empty_like(image)
    for x in range(0, image.shape[0], edge):
        for y in range(0, image.shape[1], edge):
            core = (slice(x, min(x + edge, image.shape[0])), slice(y, min(y + edge, image.shape[1])))
            residuals = [
                _residual(network, (image, level), core, flip, offset, device)
                for flip, offset in zip(flips, cycle(_OFFSETS))
            ]
            denoised[core] = image[core] + np.mean(residuals, axis=0, dtype=np.float32)
    return denoised


def _residual(
    network: nn.Module,
    volumes: tuple[NDArray[np.float32], NDArray[np.float32]],
    core: tuple[slice, slice],
    flip: tuple[int, ...],
    offset: tuple[int, int],
    device: torch.device,
) -> NDArray[np.float32]:
    """What the network adds in the core of a tile, seen in a mirror and from a grid moved by an offset."""
    precision = precision_for(device)
    box, inside = _with_halo(core, volumes[0].shape, receptive_radius(network), network.stride, offset)
    axes = [axis + 2 for axis in flip]
    inputs = [torch.from_numpy(_read(volume, box))[None, None].to(device) for volume in volumes]
    mirrored = [tensor.flip(axes) if axes else tensor for tensor in inputs]
    mirrored = [tensor.contiguous(memory_format=torch.channels_last) for tensor in mirrored]
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        residual = network(*mirrored)
    residual = residual.float().flip(axes) if axes else residual.float()
    return residual[0, 0][inside].cpu().numpy()


def _with_halo(
    core: tuple[slice, slice], shape: tuple[int, ...], halo: int, stride: int, offset: tuple[int, int]
) -> tuple[list[NDArray[np.intp]], tuple[slice, slice]]:
    """Rows and columns to read for a tile, reflected beyond the image, and where the core lies among them.

    Every tile begins at a multiple of the stride, counted from the image's corner less the offset, and mirror
    images keep the grid of the strided layers where the length is one too.
    """
    boxes, inside = [], []
    margin = -(-_REFLECTED // stride) * stride
    for part, size, moved in zip(core, shape, offset):
        low = max(part.start - halo, -margin) - moved
        high = min(part.stop + halo, size + margin)
        high += (low - high) % stride
        boxes.append(_reflect(np.arange(low, high), size))
        inside.append(slice(part.start - low, part.stop - low))
    return boxes, (inside[0], inside[1])


def _reflect(indices: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Indices of an axis of `size`, reflected at its ends without repeating them."""
    if size == 1:
        return np.zeros_like(indices)
    period = 2 * (size - 1)
    folded = np.abs(indices) % period
    return np.minimum(folded, period - folded)


def _read(plane: NDArray[np.float32], box: list[NDArray[np.intp]]) -> NDArray[np.float32]:
    return np.ascontiguousarray(plane[np.ix_(*box)], dtype=np.float32)
