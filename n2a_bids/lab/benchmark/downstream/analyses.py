"""`Analysis`: what a downstream analysis is, judged by error against truth and by test-retest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Result = TypeVar("Result")
Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Analysis(Generic[Result]):
    """One analysis of the images of one brain."""

    measures: tuple[str, ...]
    """Names of the differences."""
    analyse: Callable[[Image], Result]
    differences: Callable[[Result, Result], dict[str, float]]
    """Between two results, relative to the second where they are relative; 0 where both agree."""


@dataclass(frozen=True, slots=True)
class Score:
    """Differences of one method, by measure."""

    error: dict[str, float]
    """From the result of the truth, averaged over the images."""
    retest: dict[str, float]
    """Between the results of two images of independent noise; empty where there is one."""


def score(analysis: Analysis[Result], results: Sequence[Result], reference: Result) -> Score:
    """Compare results of one method with that of the truth, and with each other.

    Parameters
    ----------
    analysis : Analysis
    results : sequence
        Of images of independent noise.
    reference : result
        Of the truth.
    """
    errors = [analysis.differences(result, reference) for result in results]
    error = {name: float(np.mean([one[name] for one in errors])) for name in analysis.measures}
    return Score(error, analysis.differences(*results[:2]) if len(results) > 1 else {})
