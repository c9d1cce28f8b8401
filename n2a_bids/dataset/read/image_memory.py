"""Least memory (GB) that images need, by their headers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from n2a_bids.dataset.read.files import has_content, open_nifti
from n2a_bids.dataset.read.micrographs import count_pages
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrograph_pixels import is_micrograph

_COPIES = 2.0
"""The images themselves in single precision, and the array in which they are put together."""
_BYTES_OF_EXPOSURE, _BYTES_OF_RESULT = 10, 28
"""Of each value of a micrograph, for each exposure and for the results."""
_BYTES_OF_FRAME = 4
"""Of each value of frames, which are summed as they are stored."""


def least_memory_gb(images: Sequence[Path], n_frame_groups: int = 0) -> float:
    """Memory below which images cannot be denoised together, whatever the settings.

    Parameters
    ----------
    images : sequence of Path
        Those that have no readable header count nothing: their own check names them.
    n_frame_groups : int
        As in `exposures_gb`.

    Returns
    -------
    memory_gb : float
        In units of 1024**3 bytes.
    """
    exposed_gb = exposures_gb(images, n_frame_groups)
    return exposed_gb or _COPIES * 4 * sum(_n_values(Path(path)) for path in images) / 1024**3


def exposures_gb(images: Sequence[Path], n_frame_groups: int = 0) -> float:
    """Memory that exposures of a microscope take together, but for what does not grow with them; 0 of others.

    Measured, not the least that might do: all exposures are held in single precision beside their files.

    Parameters
    ----------
    n_frame_groups : int
        Groups to which the pages of each image are summed; 0 where they are no frames.

    Returns
    -------
    memory_gb : float
        In units of 1024**3 bytes.
    """
    exposures = [Path(path) for path in images if is_micrograph(Path(path))]
    if not exposures:
        return 0.0
    # Datasets of heads do without the libraries that read micrographs.
    from n2a_bids.io.micrographs import count_values

    sizes, n_frame_values = [count_values(path) for path in exposures], 0
    if n_frame_groups:
        n_frame_values = sum(sizes)
        sizes = [
            size // count_pages(path) for path, size in zip(exposures, sizes) for _ in range(n_frame_groups)
        ]
    held = _BYTES_OF_FRAME * n_frame_values + _BYTES_OF_EXPOSURE * sum(sizes)
    return (held + _BYTES_OF_RESULT * max(sizes, default=0)) / 1024**3


def _n_values(path: Path) -> int:
    try:
        return math.prod(open_nifti(path).shape) if has_content(path) else 0
    except BIDSDataError:
        return 0
