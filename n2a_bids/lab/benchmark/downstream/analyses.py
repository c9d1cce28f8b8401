"""Analyses that labs publish, each with what tells two of its results apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from n2a_bids.lab.benchmark.downstream import tissues

Result = TypeVar("Result")
Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]
VoxelSize = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Analysis(Generic[Result]):
    """One analysis of one image."""

    measures: tuple[str, ...]
    """Names of the differences."""
    analyse: Callable[[Volume, Mask, VoxelSize], Result]
    differences: Callable[[Result, Result], dict[str, float]]
    """Between two results, relative to the second where they are relative; 0 where both agree."""


ANALYSES: dict[str, Analysis] = {
    "tissues": Analysis(tissues.MEASURES, tissues.segment, tissues.compare_tissues),
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """Differences of one method, by measure."""

    error: dict[str, float]
    """From the result of the truth, averaged over the images."""
    retest: dict[str, float]
    """Between the results of two images of independent noise; empty where there is one."""


def judge(analysis: Analysis[Result], results: Sequence[Result], reference: Result) -> Judgement:
    """Compare results of one method with that of the truth, and with each other.

    Parameters
    ----------
    analysis : Analysis
    results : sequence
        Of images of independent noise.
    reference : result
        Of the truth.

    Returns
    -------
    judgement : Judgement
    """
    errors = [analysis.differences(result, reference) for result in results]
    error = {name: float(np.mean([one[name] for one in errors])) for name in analysis.measures}
    return Judgement(error, analysis.differences(*results[:2]) if len(results) > 1 else {})
