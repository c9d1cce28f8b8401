"""Frames of one file summed to exposures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrograph import PAGES, Micrograph

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
        If there are fewer frames than groups.
    """
    n_frames = stack.pixels.shape[2]
    if n_frames < n_groups:
        raise BIDSDataError(
            f"{stack.path}: expected at least {n_groups} frames for --micr-frames {n_groups}, found "
            f"{n_frames} pages; ask for fewer groups"
        )
    groups = []
    for index in range(n_groups):
        frames = stack.pixels[:, :, index::n_groups]
        mean = frames.mean(axis=2, keepdims=True, dtype=np.float64).astype(np.float32)
        if stack.is_integer:
            mean[(frames >= stack.largest_value).any(axis=2, keepdims=True)] = stack.largest_value
        groups.append(replace(stack, pixels=mean, axes=stack.axes.translate(_NO_PAGES)))
    return groups
