"""Prediction of images plane by plane, in tiles that do not show, with bounded memory."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.nn.networks import receptive_radius
from n2a_bids.algorithms.nn.training import precision_for

FLIPS: tuple[tuple[int, ...], ...] = ((), (0, 1), (0,), (1,))
"""Mirror images over which a prediction can be averaged."""

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
    device : torch.device
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
    stride, halo = network.stride, receptive_radius(network)
    edge = -(-tile_edge // stride) * stride
    precision = precision_for(device)
    denoised = np.empty_like(image)
    for x in range(0, image.shape[0], edge):
        for y in range(0, image.shape[1], edge):
            core = (slice(x, min(x + edge, image.shape[0])), slice(y, min(y + edge, image.shape[1])))
            box, inside = _with_halo(core, image.shape, halo, stride)
            planes = [_read(volume, box) for volume in (image, np.broadcast_to(noise_sd, image.shape))]
            inputs = [torch.from_numpy(plane)[None, None].to(device) for plane in planes]
            total = torch.zeros_like(inputs[0])
            for flip in flips:
                axes = [axis + 2 for axis in flip]
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    residual = network(*(tensor.flip(axes) if axes else tensor for tensor in inputs))
                total += residual.float().flip(axes) if axes else residual.float()
            denoised[core] = image[core] + (total / len(flips))[0, 0][inside].cpu().numpy()
    return denoised


def _with_halo(
    core: tuple[slice, slice], shape: tuple[int, ...], halo: int, stride: int
) -> tuple[list[NDArray[np.intp]], tuple[slice, slice]]:
    """Rows and columns to read for a tile, reflected beyond the image, and where the core lies among them.

    Every tile begins at a multiple of the stride, counted from the image's corner, and mirror images keep
    the grid of the strided layers where the length is one too.
    """
    boxes, inside = [], []
    margin = -(-_REFLECTED // stride) * stride
    for part, size in zip(core, shape):
        low = max(part.start - halo, -margin)
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
