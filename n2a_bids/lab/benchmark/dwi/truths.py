"""Noise-free diffusion series, made from a real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.lab.simulation import dwi as dwi_phantoms

_GAP_VOXELS = 2
"""Between a box and what counts as elsewhere, so that no interpolation joins them."""

_MAKERS = {
    "tensor": dwi_phantoms.tensor_phantom,
    "multi-tensor": dwi_phantoms.multi_tensor_phantom,
}


@dataclass(frozen=True, slots=True)
class Truth:
    """A noise-free series, its table and brain."""

    name: str
    signal: NDArray[np.float32]
    gradients: Gradients
    mask: NDArray[np.bool_]
    voxel_size_mm: tuple[float, float, float]
    elsewhere: Truth | None = None
    """The same brain outside of the box, in the same unit; where it was asked for."""


def make_truths(
    data: NDArray[np.float32],
    gradients: Gradients,
    mask: NDArray[np.bool_],
    voxel_size_mm: tuple[float, float, float],
    names: Sequence[str],
    box: tuple[slice, ...] = (slice(None),) * 3,
    *,
    with_elsewhere: bool = False,
) -> list[Truth]:
    """Phantoms of these names (``tensor``, ``multi-tensor``) from a real series.

    Parameters
    ----------
    data : (X, Y, Z, C) array
    gradients : Gradients
    mask : (X, Y, Z) bool array
        Brain mask.
    voxel_size_mm : tuple of float
    names : sequence of str
    box : tuple of slice
        Part of the grid that the phantoms cover.
    with_elsewhere : bool
        Also make the phantom of the rest of the brain, for methods that learn from it.

    Raises
    ------
    ValueError
        If there is to be an elsewhere and the box leaves nothing of the brain.
    """
    unit = float(np.median(data[box][mask[box]]))

    def make(name: str, inside: NDArray[np.bool_], box: tuple[slice, ...]) -> Truth:
        signal = _MAKERS[name](data[box] / unit, gradients, inside[box])
        return Truth(name, signal, gradients, inside[box], voxel_size_mm)

    truths = [make(name, mask, box) for name in names]
    if not with_elsewhere:
        return truths
    taken = np.zeros(mask.shape, bool)
    taken[box] = True
    rest = mask & ~ndimage.binary_dilation(taken, iterations=_GAP_VOXELS)
    if not rest.any():
        raise ValueError("the box leaves nothing of the brain to learn from")
    box = ndimage.find_objects(rest.astype(np.uint8))[0]
    return [replace(truth, elsewhere=make(truth.name, rest, box)) for truth in truths]
