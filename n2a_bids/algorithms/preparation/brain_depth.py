"""Depth of every voxel of a head in the brain, by a network that takes images of any contrast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from n2a_bids.algorithms.masked_filters import largest_piece
from n2a_bids.algorithms.preparation.tissue_likeness import trim_dark_border

GRID_MM = 4.0
"""Of the grid on which the network works; its depth is interpolated, so that borders lie between voxels."""

MM_PER_UNIT = 2.0
"""The logarithm of the odds that a voxel is brain falls by one over so many millimetres at the border."""

LOGIT_SCALE = 4.0
"""What the network gives is multiplied by this: small weights, large odds."""

LEAST_SHAPE = (48, 56, 48)
"""Voxels of a whole head; smaller images are padded, as in training."""

_OUTSIDE_MM = 1.5
"""The network learned how deep tissue lies in itself; masks of brains end so far outside of it. On heads
simulated around five brains, as b0, T2w and FLAIR, this overlaps best with the truth on average."""

_BRIGHTEST = 4.0
_HEAD_LEVEL = 0.1
"""Of the 99.5th percentile: air is darker."""


def brain_depth(
    network: nn.Module, image: NDArray[np.floating], voxel_sizes_mm: Sequence[float]
) -> NDArray[np.float32]:
    """How deep every voxel of a head lies in the brain, in mm; negative outside of it.

    Parameters
    ----------
    network : nn.Module
        `BrainUNet` with its weights.
    image : (X, Y, Z) array
        Magnitudes of any contrast; axes near left-right, back-front and feet-head, in this direction.
    voxel_sizes_mm : sequence of three floats

    Returns
    -------
    depth : (X, Y, Z) float32 array
        Reliable near the border of the brain only. The mean of what the image and its mirror image show.
    """
    sizes = np.asarray(voxel_sizes_mm, float)
    shape, step = np.array(image.shape), GRID_MM / sizes
    coarse_shape = np.maximum(np.ceil(shape / step).astype(int), 2)
    offset = (shape - 1) / 2 - step * (coarse_shape - 1) / 2
    # As wide as the part of a coarse voxel that a fine one does not cover.
    sigma = 0.4 * np.sqrt(np.maximum(step**2 - 1, 0))
    smooth = ndimage.gaussian_filter(np.asarray(image, np.float32), sigma)
    coarse = ndimage.affine_transform(
        smooth, np.diag(step), offset, tuple(coarse_shape), order=1, mode="nearest"
    )
    coarse_depth = _on_grid(network, coarse)
    return ndimage.affine_transform(
        coarse_depth, np.diag(1 / step), -offset / step, image.shape, order=1, mode="nearest"
    )


def brain_of_depth(
    depth: NDArray[np.floating], image: NDArray[np.floating], voxel_sizes_mm: Sequence[float]
) -> NDArray[np.bool_]:
    """The brain mask: one piece without holes, its border without voxels that are mostly skull or air.

    Parameters
    ----------
    depth : (X, Y, Z) array
        Of `brain_depth`.
    image : (X, Y, Z) array
    voxel_sizes_mm : sequence of three floats

    Returns
    -------
    mask : (X, Y, Z) bool array
        Empty where nothing looks like a brain.
    """
    brain = _largest_without_holes(depth > -_OUTSIDE_MM)
    # A border that is trimmed may open a cistern, or cut off what hung on by a thread.
    return _largest_without_holes(trim_dark_border(brain, image, voxel_sizes_mm))


def _largest_without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return ndimage.binary_fill_holes(largest_piece(mask))


def in_view(image: Tensor, field_of_view: Tensor) -> Tensor:
    """What the network sees: intensities in units of twice the median of a head, capped.

    Parameters
    ----------
    image : (X, Y, Z) tensor
        Magnitudes.
    field_of_view : (X, Y, Z) tensor
        One where the image has voxels, zero where it was padded.

    Returns
    -------
    shown : (X, Y, Z) tensor
        Zeros where nothing has signal.
    """
    values = image[field_of_view > 0][::7]
    head = values[values > _HEAD_LEVEL * torch.quantile(values, 0.995)]
    if not len(head):
        return torch.zeros_like(image)
    return (image / head.median()).clamp(0, _BRIGHTEST) / 2


@torch.no_grad()
def _on_grid(network: nn.Module, coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    stride = int(network.stride)
    margins = []
    for size, least in zip(coarse.shape, LEAST_SHAPE):
        missing = max(size + -size % stride, least) - size
        margins.append((missing // 2, missing - missing // 2))
    field_of_view = torch.from_numpy(np.pad(np.ones_like(coarse), margins))
    shown = in_view(torch.from_numpy(np.pad(coarse, margins)), field_of_view)
    image, view = shown[None, None], field_of_view[None, None]
    mirrored = network(image.flip(2), view.flip(2)).flip(2)
    logit = (network(image, view) + mirrored)[0, 0].numpy() * (LOGIT_SCALE / 2)
    box = tuple(slice(low, low + size) for (low, _), size in zip(margins, coarse.shape))
    return logit[box] * np.float32(MM_PER_UNIT)
