"""Volume groups (shells) of a diffusion series: candidate chosen for each, and its gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.averaging import RepetitionWeights
from n2a_bids.algorithms.noise.volume_noise import noisy_volume_warnings
from n2a_bids.algorithms.quality.gain import Gain, denoising_gain
from n2a_bids.algorithms.risk.dwi_candidates import is_impossible
from n2a_bids.algorithms.risk.repetition_weights import WEIGHTED_MEAN
from n2a_bids.record.denoising import (
    CandidateRisk,
    Choice,
    RepetitionRecord,
    StrategyRecord,
    VolumeGroupRecord,
)

MEAN, LOCAL_PCA, FILTERS, NONLOCAL = "mean", "local PCA", "learned filters", "non-local Bayes"
SHARED = "non-local Bayes of two series"
"""Names of the candidates."""

_WORDS = {
    LOCAL_PCA: "shrinkage of local principal components",
    FILTERS: "shrinkage of local principal components, refined by filters learned from the subject",
    NONLOCAL: (
        "shrinkage of local principal components, refined by filters learned from the subject and by "
        "non-local Bayes"
    ),
    SHARED: (
        "shrinkage of local principal components, learned filters and non-local Bayes of this series and "
        "another one of its group together, wherever that lowered the error of this one"
    ),
}


@dataclass(frozen=True, slots=True)
class VolumeGroup:
    """Volumes denoised together."""

    volumes: NDArray[np.intp]
    complex_sd: NDArray[np.float32]
    """(X, Y, Z) SD of the complex noise of one repetition, in volumes of usual noise."""
    factors: NDArray[np.float32]
    """(C,) complex noise of each volume over that."""
    candidates: tuple[CandidateRisk, ...]
    chosen: str
    mean_noise_variance: float
    """Of the mean that was denoised, averaged over mask and volumes."""
    squared_errors: dict[float, NDArray[np.float32]] | None = None
    """(X, Y, Z) expected squared error of the volumes of each shell, the noise floor aside; None where it is
    not known."""

    @property
    def squared_error(self) -> float | None:
        """Squared error of what was chosen, without the noise floor; ``None`` where nothing was compared."""
        risks = {row.name: row.risk for row in self.candidates}
        if self.chosen not in risks:
            return None
        # Risks are in units of the noise variance of the mean.
        return self.mean_noise_variance / denoising_gain(1.0, 1.0, risks[self.chosen])


def plain_mean_noise_sd(groups: Sequence[VolumeGroup], weights: RepetitionWeights) -> float:
    """Root mean square noise SD of the plain mean, over mask and volumes."""
    weighted = _over_volumes(groups, [group.mean_noise_variance for group in groups])
    return float(np.sqrt(weighted * weights.gain))


def gain_of(groups: Sequence[VolumeGroup], weights: RepetitionWeights) -> Gain | None:
    """Gain over the plain mean in all volumes together; None where nothing was compared."""
    errors = [group.squared_error for group in groups]
    if any(error is None for error in errors):
        return None
    noise = _over_volumes(groups, [group.mean_noise_variance for group in groups])
    error = _over_volumes(groups, errors)
    return Gain(weights.gain, noise / error if error > 0 else 1.0)


def _over_volumes(groups: Sequence[VolumeGroup], values: Sequence[float]) -> float:
    return float(np.average(values, weights=[group.volumes.size for group in groups]))


def describe_groups(
    groups: Sequence[VolumeGroup],
    weights: RepetitionWeights,
    noise_sd_per_volume: NDArray[np.float64],
    shells: NDArray[np.floating],
) -> StrategyRecord:
    """What was compared and chosen, as a record; the largest group speaks for all.

    Parameters
    ----------
    groups : sequence of VolumeGroup
    weights : RepetitionWeights
        Of the mean that was denoised.
    noise_sd_per_volume : (C,) array
    shells : (C,) array
        Rounded b-value of each volume.
    """
    main = max(groups, key=lambda group: group.volumes.size)
    mean = WEIGHTED_MEAN if weights.is_weighted else MEAN
    called = {MEAN: mean}
    rows = [RepetitionRecord(weight=float(weight)) for weight in weights.weights]
    return StrategyRecord(
        chosen=Choice(
            called.get(main.chosen, main.chosen),
            _WORDS.get(main.chosen) or _describe_mean(main, mean),
            mean_won=main.chosen == MEAN,
        ),
        candidates=tuple(replace(row, name=called.get(row.name, row.name)) for row in main.candidates),
        groups=tuple(
            VolumeGroupRecord(int(group.volumes.size), called.get(group.chosen, group.chosen))
            for group in groups
        ),
        repetitions=tuple(rows) if len(rows) > 1 else (),
        noise_sd_per_volume=tuple(round(float(value), 5) for value in noise_sd_per_volume),
        warnings=tuple(noisy_volume_warnings(noise_sd_per_volume, shells)),
    )


def _describe_mean(group: VolumeGroup, mean: str) -> str:
    words = "the mean weighted by noise" if mean == WEIGHTED_MEAN else "the plain mean"
    if is_impossible(group.candidates):
        return (
            f"{words}: the estimated error came out below zero, so the series differ by more than "
            "independent noise (misaligned, or not of one contrast?)"
        )
    return f"{words}: nothing beat it beyond doubt"
