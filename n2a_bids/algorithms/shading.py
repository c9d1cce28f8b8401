"""How differently two aligned images of one head are shaded, as with and without prescan normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.masked_filters import blur, blur_in_mask, bounding_box
from n2a_bids.algorithms.normalization import Mask, Volume
from n2a_bids.algorithms.registration.placed_images import (
    PlacedImage,
    SeriesRegistration,
    find_start,
    register_series,
    show_on,
)
from n2a_bids.algorithms.registration.resampling import block_means
from n2a_bids.algorithms.shading_field import bridge, odd_blocks, on_voxels, smoothness
from n2a_bids.algorithms.transforms import Affine

_ADULT_MM = 150.0
"""Extent of a brain to which all lengths here are meant; they shrink with smaller ones."""
_BLOCK_MM = 4.0
"""Blocks in which intensities are summed: shading of coils varies over centimetres."""
_FEWEST_BLOCKS = 60
"""In which shading can be told from anatomy: three times the terms of a cubic."""
_BRIGHTNESS_MM = 20.0
"""SD of the kernel of the brightness: tissues are mixed in it."""
_LEAST_SIGNAL = 0.15
"""Of the median in the brain: darker voxels are air or bone, and tell no ratio."""
_LEAST_FILLED = 0.3
"""Of a block: with less signal the ratio is taken from its neighbours."""
_ENOUGH = 0.0005
"""The SD of the logarithm that a round may still add: less ends them."""


@dataclass(frozen=True, slots=True)
class ShadingScale:
    """How finely shading is compared, and from where on it counts."""

    smoothing_mm: float
    """SD of the kernel within which sums of both images are compared, in an adult head."""
    least_ratio: float
    """Of the brightest to the darkest part of the brain: up to this, shading is left as it is."""
    most_rounds: int = 8
    """In which sums are made equal: more of them find finer shading, and at last noise."""
    least_smooth: float = 0.0
    """Part of the variance of its logarithm in the brain that a quadratic of the place explains. Of a head at
    3 T with and without prescan normalisation 0.98; of lesions of 20 to 40 mm that are half as bright again
    in one image 0.57 to 0.74."""


COARSE = ShadingScale(30.0, 1.2, least_smooth=0.85)
"""By which images that lie on each other are judged. At 3 T, two runs and corrected b0s of one protocol have
up to 1.07, one run with and without prescan normalisation 6.6 to 7.1. Finer sums make two people alike: b0s
of three people had correlations of 0.54 to 0.75 once shading was taken out at this scale, up to 0.88 at
10 mm."""
ANY = ShadingScale(30.0, 0.0)
"""The same, however little it is."""
DISTORTED = ShadingScale(30.0, 2.0, least_smooth=0.85)
"""Of heads that echo-planar distortion or motion still tells apart: they have 1.15 to 1.58."""
FINE = ShadingScale(10.0, 0.0, most_rounds=60)
"""By which shading is taken out of what is known to be one head, to one or two percent."""


@dataclass(frozen=True, slots=True)
class RelativeShading:
    """How an image is shaded against another one of the same head."""

    factor: NDArray[np.float32]
    """(X, Y, Z) what gives the image the shading of the other; of geometric mean 1 in the brain."""
    brightness: NDArray[np.float32]
    """(X, Y, Z) of the other, smooth over centimetres; above zero."""
    darkest: float
    """Brightness of the image over that of the other, mean 1, which 1 % of the brain stay below."""
    brightest: float
    """That which 1 % of the brain are above."""

    @property
    def limits(self) -> tuple[float, float]:
        """The darkest and the brightest part."""
        return self.darkest, self.brightest


def relative_shading(
    reference: Volume,
    image: Volume,
    mask: Mask,
    spacing_mm: Sequence[float],
    scale: ShadingScale = COARSE,
) -> RelativeShading | None:
    """Compare the shading of two images of one head and contrast.

    Sums over some centimetres of the head are made equal, again and again until nothing changes: as the
    anatomy is the same in both, their ratio is that of the shading, and what a kernel mixes at the border of
    the head goes with the rounds. What differs from the brain around it far more than coils make it, as a
    lesion that took up contrast agent between two runs, is left out, and keeps its difference.

    Parameters
    ----------
    reference, image : (X, Y, Z) float arrays
        On one grid, aligned to less than the scale.
    mask : (X, Y, Z) bool array
        Brain, where both were measured.
    spacing_mm : sequence of three floats
    scale : ShadingScale

    Returns
    -------
    shading : RelativeShading or None
        None where it hardly differs, or an image has no signal in the brain.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> head = rng.uniform(50, 150, (40, 40, 40))
    >>> ramp = np.exp(np.linspace(-0.5, 0.5, 40))[:, None, None]
    >>> found = relative_shading(head, 7 * head * ramp, np.ones(head.shape, bool), (3, 3, 3))
    >>> bool(np.abs(found.factor * ramp - 1).mean() < 0.03), [round(float(one), 1) for one in found.limits]
    (True, [0.6, 1.6])
    """
    levels = [float(np.median(one[mask])) if mask.any() else 0.0 for one in (reference, image)]
    if min(levels) <= 0:
        return None
    pair = [one / level for one, level in zip((reference, image), levels, strict=True)]
    head = (pair[0] > _LEAST_SIGNAL) & (pair[1] > _LEAST_SIGNAL)
    # Scalp may differ by the suppression of fat: the brain alone says whether there is any shading.
    within = [_blocks_of(pair, head & mask, mask, spacing_mm)] if scale.least_ratio else []
    for blocks in (*within, _blocks_of(pair, head, mask, spacing_mm)):
        logarithm = _logarithm(blocks, mask, scale)
        if logarithm is None:
            return None
        darkest, brightest = np.exp(-np.percentile(logarithm[mask], (99, 1)))
        if brightest <= scale.least_ratio * darkest:
            return None
    bright = blur_in_mask(levels[0] * blocks.sums[0], blocks.filled, _BRIGHTNESS_MM / blocks.size_mm)
    brightness = np.exp(on_voxels(bright, blocks.filled, blocks.steps, mask.shape))
    return RelativeShading(np.exp(logarithm), brightness, float(darkest), float(brightest))


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Two images summed in blocks."""

    sums: tuple[Volume, Volume]
    filled: Mask
    """Where there is enough signal in both."""
    brain: Mask
    """Of these, those in the brain."""
    steps: list[int]
    """Voxels in a block along each axis."""
    size_mm: NDArray[np.float64]
    """Of a block, in a head as large as that of an adult."""


def _blocks_of(pair: Sequence[Volume], head: Mask, mask: Mask, spacing_mm: Sequence[float]) -> _Blocks:
    size = _relative_size(mask, spacing_mm)
    steps = [max(1, round(_BLOCK_MM * size / spacing)) for spacing in spacing_mm]
    filled = block_means(head.astype(np.float32), steps) > _LEAST_FILLED
    brain = filled & (block_means((head & mask).astype(np.float32), steps) > _LEAST_FILLED)
    first, second = (block_means(np.where(head, one, 0).astype(np.float32), steps) for one in pair)
    return _Blocks((first, second), filled, brain, steps, np.array(steps) * np.array(spacing_mm) / size)


def _logarithm(blocks: _Blocks, mask: Mask, scale: ShadingScale) -> NDArray[np.float32] | None:
    """That of the factor in every voxel, mean 0 in the brain; None where the shading of coils is not seen."""
    if blocks.brain.sum() < _FEWEST_BLOCKS:
        return None
    factor = _smooth_factor(blocks, scale)
    if factor is None:
        return None
    logarithm = on_voxels(factor, blocks.filled, blocks.steps, mask.shape)
    return logarithm - logarithm[mask].mean()


def with_shading_of(
    reference: Volume, image: Volume, mask: Mask, spacing_mm: Sequence[float], scale: ShadingScale = FINE
) -> Volume:
    """An image with the shading of another; itself where theirs hardly differs.

    Parameters
    ----------
    reference, image, mask, spacing_mm, scale
        As of `relative_shading`.
    """
    found = relative_shading(reference, image, mask, spacing_mm, scale)
    return image if found is None else image * found.factor


def shaded_alike(
    reference: PlacedImage, moving: PlacedImage, transform: Affine, scale: ShadingScale = COARSE
) -> PlacedImage:
    """Give an image the shading of another that lies elsewhere, so that the two can be registered.

    Parameters
    ----------
    transform : Affine
        World of the reference to world of the moving image, as far as it is known.
    """
    shown, seen = show_on(reference, ~transform, moving)
    shown = np.where(seen, shown, 0)
    common = moving.mask & seen if moving.measured is None else moving.mask & seen & moving.measured
    matched = with_shading_of(shown, moving.image, common, moving.voxel_size_mm, scale)
    return moving if matched is moving.image else replace(moving, image=matched)


def register_shaded_series(reference: PlacedImage, moving: PlacedImage) -> SeriesRegistration:
    """Find the motion between two series as `register_series` does, whose shading may differ.

    Least squares take shading for motion. What differs far more than heads that moved is taken out before,
    and what is left between aligned images before they are registered once more.
    """
    shaded = shaded_alike(reference, moving, find_start(reference, moving), DISTORTED)
    found = register_series(reference, shaded)
    alike = shaded_alike(reference, shaded, found.transform)
    return found if alike is shaded else register_series(reference, alike)


def _smooth_factor(blocks: _Blocks, scale: ShadingScale) -> NDArray[np.float32] | None:
    """As `_equalising_factor`, without what is odd in it; None where it is not as smooth as coils make it."""
    sd_blocks, filled, brain = scale.smoothing_mm / blocks.size_mm, blocks.filled, blocks.brain
    factor = _equalising_factor(*blocks.sums, filled, sd_blocks, scale.most_rounds)
    if smoothness(np.log(factor[brain]), brain) < scale.least_smooth:
        return None
    odd = odd_blocks(np.log(factor[brain]), brain)
    if not odd.any():
        return factor
    even = [np.where(odd, 0, one) for one in blocks.sums]
    factor = _equalising_factor(*even, filled & ~odd, sd_blocks, scale.most_rounds)
    return bridge(factor, brain, odd, sd_blocks)


def _relative_size(mask: Mask, spacing_mm: Sequence[float]) -> float:
    """Largest extent of a brain over that of an adult, 1 at most: a view cuts it less than the volume."""
    box = bounding_box(mask)
    sizes_mm = [(part.stop - part.start) * spacing for part, spacing in zip(box, spacing_mm, strict=True)]
    return min(1.0, max(sizes_mm) / _ADULT_MM)


def _equalising_factor(
    reference: Volume, image: Volume, filled: Mask, sd_blocks: NDArray[np.float64], most_rounds: int
) -> NDArray[np.float32]:
    """What makes smoothed sums of an image those of the reference, block by block; 1 where none are known."""
    wanted = blur(reference, sd_blocks)
    factor = np.ones_like(reference)
    for _ in range(most_rounds):
        present = blur(factor * image, sd_blocks)
        # Without signal a factor changes nothing, and would grow beyond all limits.
        known = (image > 0) & (wanted > 0) & (present > 0)
        step = np.divide(wanted, present, out=np.ones_like(wanted), where=known)
        factor *= step
        if float(np.log(step[filled]).std()) < _ENOUGH:
            break
    return factor
