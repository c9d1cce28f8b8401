"""Sums the frames of one micrograph file to a few exposures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from n2a_bids.algorithms.micrographs.odd_frames import constant_frames, repeated_frames, unlike_frames
from n2a_bids.denoising.microscopy.selection import not_whole
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrograph_pixels import PAGES, Micrograph

_NO_PAGES = str.maketrans("", "", PAGES)


def sum_frames(stack: Micrograph, n_groups: int) -> tuple[list[Micrograph], tuple[str, ...]]:
    """Means of the frames of a file in interleaved groups, which share drift and dose; halves in time do not.

    Parameters
    ----------
    stack : Micrograph
        Its pages are frames.
    n_groups : int
        2 for the even and the odd frames.

    Returns
    -------
    groups : list of Micrograph
        Of one page each, in single precision; a pixel that any of its frames saturates has the largest value.
    notes : tuple of str
        Which frames were left out, and why.

    Raises
    ------
    BIDSDataError
        If there are fewer frames than groups, or a part of one was lost.
    """
    n_frames = stack.pixels.shape[2]
    if n_frames < n_groups:
        raise BIDSDataError(
            f"{stack.path}: expected at least {n_groups} frames for --micr-frames {n_groups}, found "
            f"{n_frames} pages; ask for fewer groups"
        )
    _refuse_lost_parts(stack)
    odd = _odd_frames(stack)
    kept = [index for index in range(n_frames) if index not in odd]
    notes = tuple(
        f"{stack.path.name}: frame {index}, counted from 0, was left out: {why}" for index, why in odd.items()
    )
    if len(kept) < n_groups:
        raise BIDSDataError(
            f"{stack.path}: expected at least {n_groups} frames that can be used, found {len(kept)}: "
            f"{'; '.join(notes)}; ask for fewer groups, or leave the file out"
        )
    return [_mean_of(stack, kept[index::n_groups]) for index in range(n_groups)], notes


def _odd_frames(stack: Micrograph) -> dict[int, str]:
    """Frames that would spoil the sums, and why."""
    odd = dict.fromkeys(constant_frames(stack.pixels), "it holds one value in all pixels")
    for index, first in repeated_frames(stack.pixels).items():
        odd.setdefault(index, f"it is frame {first} once more, and holds the same noise")
    left = [index for index in range(stack.pixels.shape[2]) if index not in odd]
    for index in unlike_frames(stack.pixels[:, :, left]):
        odd[left[index]] = "it does not show what the others do (lost in part, jumped, or noise alone)"
    return dict(sorted(odd.items()))


def _mean_of(stack: Micrograph, indices: list[int]) -> Micrograph:
    """The mean of some frames as an exposure."""
    frames = stack.pixels[:, :, indices]
    mean = frames.mean(axis=2, keepdims=True, dtype=np.float64).astype(np.float32)
    if stack.is_integer:
        mean[(frames >= stack.largest_value).any(axis=2, keepdims=True)] = stack.largest_value
    return replace(stack, pixels=mean, axes=stack.axes.translate(_NO_PAGES))


def _refuse_lost_parts(stack: Micrograph) -> None:
    """Chunks that are not stored are empty; where other frames show something, they were lost."""
    gaps = stack.not_stored
    if gaps is None:
        return
    pages = (slice(index, index + 1) for index in range(stack.pixels.shape[2]))
    frames = [replace(stack, pixels=stack.pixels[:, :, page], not_stored=gaps[:, :, page]) for page in pages]
    for problem in not_whole(dict(enumerate(frames))).values():
        raise BIDSDataError(problem)
