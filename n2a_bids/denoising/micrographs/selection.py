"""Decides which micrograph exposures fit together, and why others are excluded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.noise.copies import find_copies, find_means, find_redrawn
from n2a_bids.algorithms.quality.ceiling import count_jumps, wrapping_problem
from n2a_bids.dataset.read.image_memory import exposures_gb
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.images import refuse_beyond_memory
from n2a_bids.io.micrographs import Micrograph, read_micrograph

Size = tuple[float, float, float]

_MOSTLY = 0.5
"""Part of the pixels of an exposure whose saturation leaves others more to say without it."""
_BY_CHANCE = 100
"""Pixels of a chunk in which one exposure has counts, where another has none in all of it."""
_MOST_JUMPS = 0.01
"""Of the pixels, from one end of the range to the other: fewer are hot pixels of a camera."""
_LARGEST_DIFFERENCE = 0.01
"""Relative: between the pixel sizes of exposures of one field of view."""


def own_size(image: Micrograph) -> Size | None:
    """Size of a pixel as the file tells it."""
    return image.pixel_size_mm


def read_fitting(
    paths: Sequence[Path], size_of: Callable[[int, Micrograph], Size | None]
) -> tuple[dict[int, Micrograph], dict[int, str]]:
    """Read exposures, and leave out those that are damaged or unlike the others, where two or more are left.

    Parameters
    ----------
    size_of : callable
        Size of a pixel in mm of the exposure of an index; its errors leave that exposure out.

    Returns
    -------
    images : dict of int to Micrograph
        By index, of one size, type and pixel size, not all saturated.
    reasons : dict of int to str
        Of the others.

    Raises
    ------
    BIDSDataError
        If fewer than two are left (of several): what is wrong with the first that is not.
    """
    found = f"{len(paths)} exposures"
    refuse_beyond_memory(paths[0], exposures_gb(paths), found, "cut out the field of view that counts")
    images: dict[int, Micrograph] = {}
    sizes: dict[int, Size | None] = {}
    reasons: dict[int, str] = {}
    for index, path in enumerate(paths):
        try:
            images[index] = read_micrograph(path)
            sizes[index] = size_of(index, images[index])
        except BIDSDataError as error:
            reasons[index] = str(error)
    if len(paths) > 1:
        sound = {index: image for index, image in images.items() if index not in reasons}
        reasons |= _unlike(sound, {index: _layout(image) for index, image in sound.items()})
        sound = {index: image for index, image in sound.items() if index not in reasons}
        reasons |= _of_other_size(sound, sizes)
        reasons |= not_whole({index: image for index, image in sound.items() if index not in reasons})
    for index, image in images.items():
        if index not in reasons and (problem := _emptiness(image) or wrapping_of(image)):
            reasons[index] = problem
    return {index: images[index] for index in left_over(paths, reasons)}, reasons


def left_over(paths: Sequence[Path], reasons: Mapping[int, str]) -> list[int]:
    """Indices without a reason against them.

    Raises
    ------
    BIDSDataError
        If a reason leaves fewer than two.
    """
    left = [index for index in range(len(paths)) if index not in reasons]
    if reasons and len(left) < 2:
        first, *more = (reasons[index] for index in sorted(reasons))
        told = f" ({len(more)} more of the {len(paths)} exposures cannot be used)" if more else ""
        raise BIDSDataError(f"{first}{told}")
    return left


def find_repeated(paths: Sequence[Path], images: Sequence[NDArray[np.float32]]) -> dict[int, str]:
    """Exposures that are copies of others, or means of them, by index, and the reason against them."""
    pairs = find_redrawn(images) | find_copies(images)
    copies = {copy: copy_reason(paths[copy], paths[first]) for copy, first in pairs.items()}
    own = [index for index in range(len(paths)) if index not in copies]
    means = {
        own[
            mean
        ]: f"{paths[own[mean]]}: expected a measurement of its own, found a mean of the others, which "
        "holds their noise; give each acquisition once"
        for mean in find_means([images[index] for index in own])
    }
    return copies | means


def copy_reason(copy: Path, first: Path) -> str:
    """What is wrong with a file that is a copy of another."""
    return (
        f"{copy}: expected another measurement than {first}, found a copy of it; give each acquisition once"
    )


def mostly_saturated(paths: Sequence[Path], saturated: NDArray[np.bool_]) -> dict[int, str]:
    """Exposures that would take more from the others than they bring, by index, and the reason."""
    parts = saturated.reshape(len(paths), -1).mean(axis=1)
    found = {
        index: f"{paths[index]}: expected pixels below the largest value, found {100 * part:.0f} % of them "
        "saturated; expose shorter"
        for index, part in enumerate(parts)
        if part > _MOSTLY
    }
    return found if len(paths) - len(found) >= 2 else {}


def not_whole(images: Mapping[int, Micrograph]) -> dict[int, str]:
    """Exposures without a chunk in which another has found more than chance explains, with the reason.

    Parameters
    ----------
    images : mapping of int to Micrograph
        Of one size.
    """
    reasons = {}
    for index, image in images.items():
        if image.not_stored is None or not image.not_stored.any():
            continue
        gaps = image.not_stored > 0
        numbers = image.not_stored[gaps]
        for other in images.values():
            is_known = other is not image if other.not_stored is None else other.not_stored[gaps] == 0
            differs = (other.pixels[gaps] != image.pixels[gaps]) & is_known
            found = np.bincount(numbers, weights=differs).max()
            if found > _BY_CHANCE:
                reasons[index] = (
                    f"{image.path}: expected all chunks of its finest image, found that "
                    f"{len(np.unique(numbers))} are not stored, and {found:.0f} pixels of {other.path.name} "
                    "in one of them that are not empty; copy the folder whole"
                )
                break
    return reasons


def _unlike(images: Mapping[int, Micrograph], layouts: Mapping[int, str]) -> dict[int, str]:
    """Exposures of another size or type than most, or than the first where none are more."""
    if not images:
        return {}
    usual = Counter(layouts.values()).most_common(1)[0][0]
    like = next(image for index, image in images.items() if layouts[index] == usual)
    return {
        index: f"{image.path}: expected an exposure like {like.path}, {usual}, found {layouts[index]}; give "
        "exposures of one field of view and one camera"
        for index, image in images.items()
        if layouts[index] != usual
    }


def _layout(image: Micrograph) -> str:
    size = " x ".join(map(str, image.pixels.shape))
    shown = ", the smallest shown as white" if image.white_is_zero else ""
    return f"{size} (columns, rows, planes, channels) of {image.pixels.dtype}{shown}"


def _of_other_size(images: Mapping[int, Micrograph], sizes: Mapping[int, Size | None]) -> dict[int, str]:
    """Exposures of another magnification, which no shift lays on the others."""
    known = {index: size for index, size in sizes.items() if index in images and size is not None}
    if len(known) < 2:
        return {}
    alike = {
        index: [other for other, theirs in known.items() if _same_size(size, theirs)]
        for index, size in known.items()
    }
    usual = max(alike.values(), key=len)
    size = known[usual[0]]
    return {
        index: f"{images[index].path}: expected the pixel size of {images[usual[0]].path}, "
        f"{_in_nm(size)}, found {_in_nm(known[index])}; give exposures of one magnification, or correct what "
        "is wrong"
        for index in known
        if index not in usual
    }


def _same_size(one: Size, other: Size) -> bool:
    return all(abs(a / b - 1) <= _LARGEST_DIFFERENCE for a, b in zip(one[:2], other[:2]))


def _in_nm(size: Size) -> str:
    return f"{size[0] * 1e6:g} x {size[1] * 1e6:g} nm"


def _emptiness(image: Micrograph) -> str:
    """Why an image holds nothing that can be denoised; empty where it does."""
    values = image.pixels
    if not np.isfinite(values).all():
        return f"{image.path}: expected finite values, found NaN or infinity; export it again"
    full = values.min() >= image.largest_value
    if full or np.ptp(values) == 0:
        return (
            f"{image.path}: expected an image, found one value{' (saturated)' if full else ''} in all "
            "pixels; leave it out"
        )
    return ""


def wrapping_of(image: Micrograph) -> str:
    """What shows that pixels wrapped as a dark frame was taken off; empty where nothing does."""
    values = image.pixels
    n_jumps = count_jumps(values.ravel())
    is_saturated = 2 * np.count_nonzero(values == image.largest_value) > n_jumps
    if is_saturated or n_jumps < _MOST_JUMPS * values.size:
        return ""
    problem = wrapping_problem(n_jumps, values.size, values.dtype)
    return f"{image.path}: expected counts that fit into {values.dtype}, found {problem}"
