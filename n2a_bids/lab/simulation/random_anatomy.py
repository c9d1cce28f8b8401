"""Random lesions and coarser voxels for pretraining on healthy 1 mm brains."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

_LESION_RADII = (1.2, 4.0)
_LESION_CONTRAST = (0.3, 1.5)
"""Over the SD of the brain, to either side."""
_MOST_LESIONS = 6
_COARSENESS = (1.2, 2.1)
"""Voxels of the head in one of the block, along a coarse axis."""


def add_lesions(block: NDArray[np.float32], sd: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Put in up to six bright or dark balls, of 1.2 to 4 voxels radius and with soft rims.

    Parameters
    ----------
    block : (X, Y, Z) float array
        Non-negative intensities; lesions are centred where there is signal.
    sd : float
        Of the brain, same unit.

    Returns
    -------
    block : (X, Y, Z) float32 array
        Non-negative.
    """
    places = np.argwhere(block > 0)
    if not len(places):
        return block
    changed = block.astype(np.float32, copy=True)
    for centre in places[rng.integers(len(places), size=rng.integers(1, _MOST_LESIONS + 1))]:
        radius = rng.uniform(*_LESION_RADII)
        contrast = sd * rng.uniform(*_LESION_CONTRAST) * rng.choice([-1, 1])
        reach = int(np.ceil(radius)) + 1
        box = tuple(slice(max(at - reach, 0), at + reach + 1) for at in centre)
        offsets = np.ogrid[
            tuple(slice(part.start, min(part.stop, size)) for part, size in zip(box, block.shape))
        ]
        distance = np.sqrt(sum((axis - at) ** 2 for axis, at in zip(offsets, centre)))
        changed[box] += np.float32(contrast) * np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32)
    return np.maximum(changed, 0)


def draw_coarseness(rng: np.random.Generator) -> tuple[float, float, float]:
    """Voxels of a head in one of a block along each axis: one or two axes are coarse, by one factor.

    Examples
    --------
    >>> factors = draw_coarseness(np.random.default_rng(0))
    >>> 1 <= sum(factor > 1 for factor in factors) <= 2
    True
    """
    factor, n_coarse = rng.uniform(*_COARSENESS), int(rng.integers(1, 3))
    factors = [factor] * n_coarse + [1.0] * (3 - n_coarse)
    x, y, z = (factors[axis] for axis in rng.permutation(3))
    return x, y, z


def acquire_coarser(block: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A block as a scan of fewer voxels shows it: the lowest frequencies alone, which leaves ringing.

    Parameters
    ----------
    block : (X, Y, Z) float array
        Non-negative.
    shape : three ints
        Along no axis more than the block has. By cosine transforms: opposite ends of a block do not fit.

    Returns
    -------
    coarse : float32 array of that shape
        Non-negative, as magnitudes are.
    """
    spectrum = fft.dctn(block, norm="ortho")[tuple(slice(size) for size in shape)]
    scale = np.sqrt(np.prod(shape) / np.prod(block.shape))
    return np.maximum(fft.idctn(spectrum, norm="ortho") * scale, 0).astype(np.float32)
