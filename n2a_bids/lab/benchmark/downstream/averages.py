"""How many plain averages have the same error as a denoised image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

LADDER = (1, 2, 3, 4, 6, 8, 12, 16)
"""Numbers of repetitions whose plain mean is judged."""

Bound = Literal["", "at least", "at most"]


@dataclass(frozen=True, slots=True)
class Worth:
    """Number of repetitions whose plain mean has the same error."""

    n_averages: float
    bound: Bound = ""
    """Where the error lies beyond those of all means: the number is that of the nearest mean."""

    def __str__(self) -> str:
        """As tables and pictures say it.

        Examples
        --------
        >>> str(Worth(5.28)), str(Worth(16, "at least"))
        ('5.3', '16 or more')
        """
        words = {"": "", "at least": " or more", "at most": " or fewer"}[self.bound]
        number = f"{self.n_averages:.0f}" if self.bound else f"{self.n_averages:.1f}"
        return f"{number}{words}"


def equivalent_averages(counts: Sequence[int], errors: Sequence[float], error: float) -> Worth:
    """Interpolate the number of plain averages that gives an error.

    Errors of means are first made to fall with their number (isotonic regression), and then followed
    linearly on logarithmic axes, on which white noise is a straight line.

    Parameters
    ----------
    counts : sequence of int
        Numbers of averages, rising.
    errors : sequence of float
        Error of the mean of as many.
    error : float
        Error that is looked for, the same unit.

    Examples
    --------
    >>> equivalent_averages((1, 2, 4), (1.0, 0.7, 0.5), 0.7)
    Worth(n_averages=2.0, bound='')
    >>> equivalent_averages((1, 2, 4), (1.0, 0.7, 0.5), 0.4).bound
    'at least'
    """
    tiny = np.finfo(float).tiny
    falling = np.log(np.maximum(isotonic_regression(errors, increasing=False).x, tiny))
    target = np.log(max(error, tiny))
    if target < falling[-1]:
        return Worth(float(counts[-1]), "at least")
    if target > falling[0]:
        return Worth(float(counts[0]), "at most")
    logarithm = np.interp(-target, -falling, np.log(counts))
    return Worth(float(np.round(np.exp(logarithm), 9)))


def disjoint_groups(n_repetitions: int, size: int, most: int = 2) -> list[slice]:
    """Groups of repetitions that share none, so that their noise is independent.

    Examples
    --------
    >>> disjoint_groups(16, 2)
    [slice(0, 2, None), slice(2, 4, None)]
    >>> disjoint_groups(16, 12)
    [slice(0, 12, None)]
    """
    n_groups = min(most, n_repetitions // size)
    return [slice(index * size, (index + 1) * size) for index in range(n_groups)]


def group_means(repetitions: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    """Plain means of up to two groups of `size` that share no repetition.

    Parameters
    ----------
    repetitions : (R, ...) float32 array

    Returns
    -------
    means : list of (...) float32 array
    """
    return [repetitions[group].mean(axis=0) for group in disjoint_groups(len(repetitions), size)]
