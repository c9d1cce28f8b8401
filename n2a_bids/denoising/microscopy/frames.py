"""Sums the frames of one micrograph file to a few exposures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from n2a_bids.denoising.microscopy.selection import not_whole
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrograph_pixels import PAGES, Micrograph

_NO_PAGES = str.maketrans("", "", PAGES)


def sum_frames(stack: Micrograph, n_groups: int) -> list[Micrograph]:
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
    groups = []
    for index in range(n_groups):
        frames = stack.pixels[:, :, index::n_groups]
        mean = frames.mean(axis=2, keepdims=True, dtype=np.float64).astype(np.float32)
        if stack.is_integer:
            mean[(frames >= stack.largest_value).any(axis=2, keepdims=True)] = stack.largest_value
        groups.append(replace(stack, pixels=mean, axes=stack.axes.translate(_NO_PAGES)))
    return groups


def _refuse_lost_parts(stack: Micrograph) -> None:
    """Chunks that are not stored are empty; where other frames show something, they were lost."""
    gaps = stack.not_stored
    if gaps is None:
        return
    pages = (slice(index, index + 1) for index in range(stack.pixels.shape[2]))
    frames = [replace(stack, pixels=stack.pixels[:, :, page], not_stored=gaps[:, :, page]) for page in pages]
    for problem in not_whole(dict(enumerate(frames))).values():
        raise BIDSDataError(problem)
