"""Simulated movement undone by the app's own alignment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def align_runs(
    runs: NDArray[np.float32], mask: NDArray[np.bool_], affine: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Bring moved runs onto the grid of the first."""
    raise NotImplementedError
