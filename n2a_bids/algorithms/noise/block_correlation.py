"""Correlates two images block by block in blocks that hold noise alone, for `shared_noise`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.constant_places import find_constant
from n2a_bids.algorithms.gaussian import gaussian_blur
from n2a_bids.algorithms.normalization import Volume
from n2a_bids.algorithms.registration.resampling import field_of_view
from n2a_bids.algorithms.transforms import Matrix

_BLOCK = 4
"""Edge, in voxels of the coarser image, of the blocks in which noise is compared."""
_SIGMAS = (0.7, 1.3, 2.4)
"""SDs, in voxels of the coarser image, between which the fine, the middle and the coarse band lie."""
_SLAB_BLOCKS, _MOST_SLABS = 6, 3
"""Blocks along the first axis that are filtered together, and how many such slabs are looked at: they bound
memory and time, and hold thousands of blocks of a whole head."""
_LEAST_ALIVE = 1e-5
"""SD of the noise over the largest intensity, below which there are only errors of rounding."""
_DISPLACED_BLOCKS = 60
"""Blocks of a slab in which displaced noise is looked for: of the quietest those nearest the centre, where
corrections of distortion move least."""
_QUIET_PART, _QUIET_POWER = 0.2, 1.5
"""Quiet are blocks with at most so many times the power that this part of the flat ones stays below: air. In
flat tissue of a real pair that lies well, traces of anatomy agree by 0.72 at the best shift."""
_SEARCH_VOXELS = 3
"""Reach of that search."""
_AROUND_VOXELS = 2
"""By which blocks are enlarged for it: with more voxels, chance finds less."""


@dataclass(frozen=True, slots=True)
class ComparedBlocks:
    """Correlations of blocks of noise, one value for each, in three bands of spatial frequencies."""

    fine: NDArray[np.float32]
    middle: NDArray[np.float32]
    coarse: NDArray[np.float32]
    displaced: NDArray[np.float32]
    """Of some blocks, at the shift that suits each best, to a part of a voxel."""
    by_chance: NDArray[np.float32]
    """The same with blocks of other places."""
    seen: NDArray[np.float32]
    """Of the fine band, of all blocks that both images show, flat or not."""
    uncut: NDArray[np.float32]
    """Of these, those of blocks that no mask of either image cuts."""


def compare_blocks(
    first: Volume, second: Volume, to_second: Matrix, voxels: NDArray[np.float64], most_coarse: float
) -> Iterator[ComparedBlocks]:
    """Compare the detail of two images slab by slab of the first grid.

    Parameters
    ----------
    first, second : (X, Y, Z) float arrays
        Each on its own grid.
    to_second : (4, 4) float array
        Maps indices of `first` to indices of `second`.
    voxels : (3,) float array
        Unit of all filters and blocks, in voxels of `first`.
    most_coarse : float
        Power of the coarse band over that of the middle one up to which a block is taken: white noise has
        0.06 to 0.29, median 0.136; anatomy 0.4 to 20.

    Yields
    ------
    compared : ComparedBlocks
        Of one slab.
    """
    edges = np.minimum(np.rint(_BLOCK * voxels).astype(int), first.shape)
    margin = int(np.ceil(3 * _SIGMAS[-1] * voxels[0]))
    second, order = second.astype(np.float32, copy=False), 0
    levels = [_LEAST_ALIVE * float(np.abs(image).max()) for image in (first, second)]
    constant = find_constant(second)
    if not np.allclose(to_second, np.rint(to_second), atol=1e-3):
        second, order = ndimage.spline_filter(second, order=3, output=np.float32, mode="mirror"), 3
    thickness = _SLAB_BLOCKS * edges[0]
    n_slabs = -(-(first.shape[0] - edges[0] + 1) // thickness)
    chosen = min(n_slabs, _MOST_SLABS)
    for slab in ((np.arange(chosen) + 0.5) * n_slabs / chosen).astype(int):
        start = slab * thickness
        low = max(start - margin, 0)
        part = first[low : start + thickness + margin].astype(np.float32, copy=False)
        shift = np.eye(4)
        shift[0, 3] = low
        mapping = to_second @ shift
        moved = ndimage.affine_transform(
            second, mapping[:3, :3], mapping[:3, 3], part.shape,
            order=order, mode="mirror", output=np.float32, prefilter=False,
        )  # fmt: skip
        view = field_of_view(second.shape, mapping, part.shape)
        cut_off = _near(find_constant(part) | _show_mask(constant, mapping, part.shape), voxels)
        inner = slice(start - low, start - low + thickness)
        bands = [[band[inner] for band in _split_bands(image, voxels)] for image in (part, moved)]
        yield _compare(*bands, (view[inner], cut_off[inner]), edges, levels, most_coarse)


def _show_mask(mask: NDArray[np.bool_], to_mask: Matrix, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask on another grid, by the nearest voxel."""
    if not mask.any():
        return np.zeros(shape, bool)
    values = mask.astype(np.float32)
    moved = ndimage.affine_transform(values, to_mask[:3, :3], to_mask[:3, 3], shape, order=0, mode="nearest")
    return moved > 0.5


def _near(mask: NDArray[np.bool_], voxels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """What the filter of the fine band mixes with a mask."""
    # The outermost of the constant voxels are not in the mask.
    reach = 1 + np.ceil(2 * _SIGMAS[0] * voxels).astype(int)
    return ndimage.maximum_filter(mask, 2 * reach + 1) if mask.any() else mask


def _split_bands(image: Volume, voxels: NDArray[np.float64]) -> list[Volume]:
    """Fine, middle and coarse detail."""
    levels = [image, *(gaussian_blur(image, sigma * voxels, 3.0) for sigma in _SIGMAS)]
    return [finer - coarser for finer, coarser in zip(levels, levels[1:])]


def _compare(
    first: Sequence[Volume],
    second: Sequence[Volume],
    views: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    edges: NDArray[np.intp],
    levels: Sequence[float],
    most_coarse: float,
) -> ComparedBlocks:
    cut = [[_blocks(band, edges) for band in bands] for bands in (first, second)]
    view, cut_off = views
    seen = _blocks(view, edges).all(axis=1)
    ratios, powers = [], []
    for (_, middle, coarse), level in zip(cut, levels, strict=True):
        power = np.mean(middle**2, axis=1)
        # Noise reaches every part of a block: what was set to a constant has none.
        alive = np.partition(np.abs(middle), middle.shape[1] // 4, axis=1)[:, middle.shape[1] // 4] > level
        seen &= alive & (np.median(np.abs(middle), axis=1) > 0.3 * np.sqrt(power))
        powers.append(power)
        ratios.append(np.mean(coarse**2, axis=1) / np.maximum(power, level**2 + np.finfo(np.float32).tiny))
    # One of the two may be smooth throughout, by a filter; anatomy shows in the other.
    # The edge of a mask is detail at all scales, as noise is, and alike in two images of one head.
    whole = ~_blocks(cut_off, edges).any(axis=1)
    flat = np.flatnonzero(seen & whole & (np.minimum(*ratios) < most_coarse))
    counts = np.array(view.shape) // edges
    quiet = flat[np.logical_and(*(_is_quiet(power[flat]) for power in powers))]
    corners = np.stack(np.unravel_index(quiet, counts), axis=1) * edges
    distance = np.linalg.norm((corners - (np.array(view.shape) - edges) / 2)[:, 1:], axis=1)
    some = np.argsort(distance, kind="stable")[:_DISPLACED_BLOCKS]
    others = np.roll(some, some.size // 2)
    correlation = _block_correlation(cut[0][0][seen], cut[1][0][seen])
    return ComparedBlocks(
        fine=_block_correlation(cut[0][0][flat], cut[1][0][flat]),
        middle=_block_correlation(cut[0][1][flat], cut[1][1][flat]),
        coarse=_block_correlation(cut[0][2][flat], cut[1][2][flat]),
        displaced=_best_over_shifts(first[1], second[1], corners[some], corners[some], edges),
        by_chance=_best_over_shifts(first[1], second[1], corners[some], corners[others], edges),
        seen=correlation,
        uncut=correlation[whole[seen]],
    )


def _is_quiet(power: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,) whether blocks hold about as little as the quietest of them."""
    return power <= _QUIET_POWER * np.quantile(power, _QUIET_PART) if power.size else np.zeros(0, bool)


def _blocks(values: NDArray, edges: NDArray[np.intp]) -> NDArray:
    """(N, voxels of a block): the image cut into blocks, without the rest at its ends."""
    counts = np.array(values.shape) // edges
    inner = values[tuple(slice(0, count * edge) for count, edge in zip(counts, edges, strict=True))]
    cut = inner.reshape([size for pair in zip(counts, edges, strict=True) for size in pair])
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(int(np.prod(counts)), -1)


def _best_over_shifts(
    first: Volume,
    second: Volume,
    corners: NDArray[np.intp],
    other_corners: NDArray[np.intp],
    edges: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Correlation of enlarged blocks where noise was displaced by a correction of distortion."""
    if not len(corners):
        return np.zeros(0, np.float32)
    own = _patches(first, corners, edges, _AROUND_VOXELS).reshape(len(corners), -1)
    others = _patches(second, other_corners, edges, _AROUND_VOXELS + _SEARCH_VOXELS)
    sizes = edges + 2 * _AROUND_VOXELS
    n_shifts = 2 * _SEARCH_VOXELS + 1
    found = np.empty((len(corners), n_shifts, n_shifts, n_shifts), np.float32)
    for shift in product(range(n_shifts), repeat=3):
        window = tuple(slice(start, start + size) for start, size in zip(shift, sizes, strict=True))
        found[(slice(None), *shift)] = _block_correlation(
            own, others[(slice(None), *window)].reshape(own.shape)
        )
    return _peak(found)


def _peak(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) largest of (N, x, y, z) correlations, between the steps too: by a parabola along each axis."""
    index = np.stack(np.unravel_index(values.reshape(len(values), -1).argmax(axis=1), values.shape[1:]))
    every = np.arange(len(values))
    largest = values[(every, *index)]
    above = np.zeros_like(largest)
    for axis, size in enumerate(values.shape[1:]):
        step = (np.arange(3) == axis).astype(int)[:, None]
        inside = (index[axis] > 0) & (index[axis] < size - 1)
        before, after = (
            np.where(inside, values[(every, *np.clip(index + sign * step, 0, size - 1))], largest)
            for sign in (-1, 1)
        )
        curvature = np.maximum(2 * largest - before - after, np.finfo(np.float32).tiny)
        above += (after - before) ** 2 / (8 * curvature)
    return np.minimum(largest + above, 1)


def _patches(
    image: Volume, corners: NDArray[np.intp], edges: NDArray[np.intp], margin: int
) -> NDArray[np.float32]:
    """(N, x, y, z): blocks with a margin around each."""
    padded = np.pad(image, margin, mode="reflect")
    sizes = edges + 2 * margin
    return np.stack(
        [
            padded[tuple(slice(start, start + size) for start, size in zip(corner, sizes, strict=True))]
            for corner in corners
        ]
    )


def _block_correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    # Roots before the product, which single precision does not hold of large or small intensities.
    scale = np.sqrt((first**2).sum(axis=1)) * np.sqrt((second**2).sum(axis=1))
    return (first * second).sum(axis=1) / np.maximum(scale, np.finfo(np.float32).tiny)
