"""Held-out blocks: the part of an image that training never sees, on which risk is estimated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids.algorithms.nn.blocks import Index

_CONTEXT_VOXELS = 8
"""Around a cube, read for its prediction."""
_FEWEST_CUBES = 4
"""Where there are so many: fewer would say little of the spread between places."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Cubes that training never sees as targets, and on which candidates are compared."""

    cores: tuple[Index, ...]
    """Where errors count."""
    boxes: tuple[Index, ...]
    """Cores with context around them, for prediction."""
    mask: NDArray[np.bool_]
    """(X, Y, Z): True inside the cores."""


def hold_out(
    mask: NDArray[np.bool_],
    generator: torch.Generator,
    *,
    fraction: float = 0.12,
    edge: int = 32,
) -> HeldOut:
    """Choose cubes spread over the mask.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    fraction : float
        Part of the mask to hold out, about.
    edge : int
        Cube edge in voxels; smaller in small volumes.

    Returns
    -------
    held_out : HeldOut
        At least one cube.
    """
    affordable = int((fraction * mask.sum() / _FEWEST_CUBES) ** (1 / 3)) // 2 * 2
    edge = max(4, min(edge, affordable, min(mask.shape) // 4 * 2))
    corners = [
        corner
        for corner in np.stack(
            np.meshgrid(*(np.arange(0, max(size - edge, 0) + 1, edge) for size in mask.shape), indexing="ij"),
            -1,
        ).reshape(-1, 3)
        if mask[tuple(slice(low, low + edge) for low in corner)].mean() > 0.5
    ]
    if not corners:
        centre = np.argwhere(mask).mean(axis=0).astype(int)
        corners = [np.clip(centre - edge // 2, 0, np.array(mask.shape) - edge)]
    n_cubes = max(_FEWEST_CUBES, round(fraction * mask.sum() / edge**3))
    order = torch.randperm(len(corners), generator=generator)[:n_cubes].tolist()
    cores, boxes, held = [], [], np.zeros(mask.shape, bool)
    for index in sorted(order):
        low = corners[index]
        cores.append(tuple(slice(int(first), int(first) + edge) for first in low))
        boxes.append(
            tuple(
                slice(max(int(first) - _CONTEXT_VOXELS, 0), min(int(first) + edge + _CONTEXT_VOXELS, size))
                for first, size in zip(low, mask.shape)
            )
        )
        held[cores[-1]] = True
    return HeldOut(cores=tuple(cores), boxes=tuple(boxes), mask=held)
