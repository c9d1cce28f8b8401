"""How differently two aligned images of one head are shaded, as with and without prescan normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.masked_filters import blur, blur_in_mask
from n2a_bids.algorithms.normalization import Mask, Volume
from n2a_bids.algorithms.registration.placed_images import (
    PlacedImage,
    SeriesRegistration,
    find_start,
    register_series,
    show_on,
)
from n2a_bids.algorithms.registration.resampling import block_means
from n2a_bids.algorithms.registration.rigid_fit import size_factor
from n2a_bids.algorithms.registration.transforms import Affine

_BLOCK_MM = 4.0
"""Blocks of an adult head (smaller ones in brains under 20 ml) in which intensities are summed: shading of
coils varies over centimetres."""
_BRIGHTNESS_MM = 20.0
"""SD of the kernel of the brightness: tissues are mixed in it."""
_LEAST_SIGNAL = 0.15
"""Of the median in the brain: darker voxels are air or bone, and tell no ratio."""
_LEAST_FILLED = 0.3
"""Of a block: with less signal the ratio is taken from its neighbours."""
_EXTENDED_BLOCKS = 3
"""Beyond these, a field stays as it is."""
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


COARSE = ShadingScale(30.0, 1.2)
"""By which images that lie on each other are judged. At 3 T, two runs and corrected b0s of one protocol have
up to 1.07, one run with and without prescan normalisation 6.6 to 7.1. Finer sums make two people alike: b0s
of three people had correlations of 0.54 to 0.75 once shading was taken out at this scale, up to 0.88 at
10 mm."""
ANY = ShadingScale(30.0, 0.0)
"""The same, however little it is."""
DISTORTED = ShadingScale(30.0, 2.0)
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
    the head goes with the rounds.

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
    head = (reference > _LEAST_SIGNAL * levels[0]) & (image > _LEAST_SIGNAL * levels[1])
    steps = [max(1, round(_BLOCK_MM * size_factor(mask, spacing_mm) / size)) for size in spacing_mm]
    filled = block_means(head.astype(np.float32), steps) > _LEAST_FILLED
    if not filled.any():
        return None
    sums = [
        block_means(np.where(head, one / level, 0).astype(np.float32), steps)
        for one, level in zip((reference, image), levels, strict=True)
    ]
    block_mm = np.array(steps) * np.array(spacing_mm) / size_factor(mask, spacing_mm)
    factor = _equalising_factor(*sums, filled, scale.smoothing_mm / block_mm, scale.most_rounds)
    logarithm = _on_voxels(factor, filled, steps, mask.shape)
    logarithm -= logarithm[mask].mean()
    darkest, brightest = np.exp(-np.percentile(logarithm[mask], (99, 1)))
    if brightest <= scale.least_ratio * darkest:
        return None
    bright = blur_in_mask(levels[0] * sums[0], filled, _BRIGHTNESS_MM / block_mm)
    brightness = np.exp(_on_voxels(bright, filled, steps, mask.shape))
    return RelativeShading(np.exp(logarithm), brightness, float(darkest), float(brightest))


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
    """As `with_shading_of`, of images on grids of their own, to be registered with each other.

    Parameters
    ----------
    transform : Affine
        World of the reference to world of the moving image, as far as it is known.
    """
    shown, seen = show_on(reference, ~transform, moving)
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


def _extended(field: NDArray[np.float32], filled: Mask) -> NDArray[np.float32]:
    """A field beyond the filled blocks: it goes on as straight as it came there, for some blocks."""
    nearest = ndimage.distance_transform_edt(~filled, return_distances=False, return_indices=True)
    beyond = np.indices(field.shape) - nearest
    steps = np.sqrt((beyond**2).sum(axis=0))
    beyond = np.rint(beyond * np.minimum(1, _EXTENDED_BLOCKS / np.maximum(steps, 1))).astype(int)
    mirrored = tuple(
        np.clip(place, 0, size - 1) for place, size in zip(nearest - beyond, field.shape, strict=True)
    )
    border = field[tuple(nearest)]
    return np.where(filled[mirrored], 2 * border - field[mirrored], border)


def _on_voxels(
    blocks: NDArray[np.float32], filled: Mask, steps: Sequence[int], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Logarithm of a field, linear between the centres of filled blocks, on the voxels they were made of."""
    logarithm = np.log(blocks, out=np.zeros_like(blocks), where=filled)
    matrix = np.diag([1 / step for step in steps])
    offset = [-(step - 1) / 2 / step for step in steps]
    extended = _extended(logarithm, filled)
    return ndimage.affine_transform(extended, matrix, offset, shape, order=1, mode="nearest")
