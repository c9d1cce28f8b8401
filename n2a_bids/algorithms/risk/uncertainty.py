"""Uncertainty map of anatomical images: expected error of every voxel, calibrated on held-out blocks.

Where a patch differs from those that look alike, non-local Bayes keeps more of its noise: the variance of
its posterior says how much. Where the stages of the estimate disagree, detail is in doubt. The squared
error is modelled as the sum of both, and of a floor that follows the noise. The two factors are those that
simulations have shown, corrected by what the image itself tells: on held-out blocks, with targets whose
noise is independent of the estimate (recorruption), the squared error of every voxel is known without bias.
A clue that follows the noise of single voxels must not have a factor of its own: where noise is strong by
chance, the clue is, and so is the squared distance from which errors are found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from n2a_bids.algorithms.normalization import MaskedSmoother
from n2a_bids.algorithms.preparation.repetitions import Prepared
from n2a_bids.algorithms.repetitions import DenoisedImage, averaged
from n2a_bids.algorithms.risk.held_out import HeldOut
from n2a_bids.algorithms.risk.stacking import STRENGTH, Stack

Volume = NDArray[np.float32]

USUAL_FACTORS = np.array([0.165, 0.97])
"""Squared error over floor and doubt: what simulated heads show, noise 0.2 to 0.6 of the tissue SD, 2 and 4
repetitions (``n2a-tools benchmark --calibration``)."""

_FACTOR_SPREAD, _SCALE_SPREAD = 0.12, 0.1
"""SD between images of the factors, and of the whole, over their means: so tight that a noise map which is
off by some percent, and held-out errors in quiet places with it, cannot upset their order."""

_MODEL_SPREAD = 0.2
"""SD of the mean squared error over what the map says of it: tenths of the voxels have 0.89 to 1.11 of the
error that it tells."""

_LEAST_SCALE = 0.1
"""Of the factors, over the usual ones: the mean of the held-out errors may be negative by chance."""

_FLOOR = 0.05
"""Noise variance (squared z-scores) about which the part of the error that no clue shows ceases to grow: in
simulations it is 0.003 to 0.006, whether the noise variance of the mean is 0.03 or 0.3."""

_GROWTH = 0.65
"""Power of the noise variance with which the squared error grows: 0.60 and 0.68 in simulations. Held-out
errors are those of images with a little more noise."""

_DISAGREEMENT_VOXELS = 1.0
"""SD of the Gaussian over which squared differences of the stages are averaged."""


@dataclass(slots=True)
class Clues:
    """What an estimate shows of its own error; filled while it is made."""

    posterior_variance: NDArray[np.float32] | None = None
    """(X, Y, Z) of the last pass of non-local Bayes, the noise variance where no patch reached; None where
    non-local Bayes took no part."""
    stages: list[NDArray[np.float32]] = field(default_factory=list)
    """(X, Y, Z) estimates on the way to the last one."""
    tell: Callable[[int], None] = lambda n_stages: None
    """Told how many there are after each: of a whole volume one takes a minute."""

    def add_stage(self, estimate: NDArray[np.float32]) -> None:
        """Keep an estimate and tell of it."""
        self.stages.append(estimate)
        self.tell(len(self.stages))

    def start_posterior(self, noise_sd: NDArray[np.float32]) -> NDArray[np.float32]:
        """A new (X, Y, Z) volume for the posterior variance of a pass: at first the noise variance."""
        self.posterior_variance = noise_sd**2
        return self.posterior_variance

    def disagreement(self, estimate: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(X, Y, Z) mean squared difference of the stages from the estimate, over neighbours in `where`."""
        total = np.zeros_like(estimate)
        for stage in self.stages:
            total += (stage - estimate) ** 2
        smooth = MaskedSmoother(where, _DISAGREEMENT_VOXELS)
        return smooth(total / np.float32(max(len(self.stages), 1))).astype(np.float32)


def with_uncertainty(
    denoised: DenoisedImage, prepared: Prepared, bias: Volume | float, error_sd: Volume | None
) -> DenoisedImage:
    """The image with the error to expect in every voxel, and the part of the brain where the mean has less.

    Parameters
    ----------
    bias : (X, Y, Z) float array or 0.0
        Rician bias of the average.
    error_sd : (X, Y, Z) float array or None
        Expected error in z-scores; None where the average itself was kept.
    """
    n_measured = averaged(len(prepared.images) if prepared.n_measured is None else prepared.n_measured)
    bias_squared = np.float32(bias) ** 2
    of_mean = np.sqrt(prepared.repetition_noise_sd**2 / n_measured + bias_squared)
    if error_sd is None:
        error_sd = np.sqrt(prepared.average_noise_sd**2 + bias_squared)
        better = None
    else:
        better = round(float((of_mean < error_sd)[prepared.mask].mean()), 5)
    if len(prepared.images) == 1:
        # There is no mean that would have been an output instead.
        better = None
    uncertainty = np.where(prepared.head, error_sd, 0) * np.float32(prepared.scales[0].gain)
    record = replace(denoised.record, mean_better=better)
    return replace(denoised, uncertainty=uncertainty[..., None].astype(np.float32), record=record)


def expected_error(
    clues: Clues,
    estimate: Volume,
    stack: Stack,
    prepared: Prepared,
    held_out: HeldOut,
    bias: Volume | float,
    *,
    usual: NDArray[np.float64] = USUAL_FACTORS,
    level_uncertainty: float = 0.0,
) -> Volume:
    """Root of the expected squared error of every voxel of an estimate.

    Parameters
    ----------
    clues : Clues
        Of the estimate.
    estimate : (X, Y, Z) float32 array
        Denoised average, z-scores.
    stack : Stack
        Comparison of the candidates that the estimate combines, as `stack` says.
    held_out : HeldOut
        Blocks of that comparison.
    bias : (X, Y, Z) float array or 0.0
        Rician bias of the average.
    usual : (2,) float array
        Factors that are expected before the image is looked at.
    level_uncertainty : float
        Relative, of the noise SD, where nothing was repeated: all held-out errors are then wrong together, by
        up to twice that part of the noise variance.

    Returns
    -------
    error_sd : (X, Y, Z) float32 array
        z-scores. It is calibrated inside the mask.
    """
    noise_variance = prepared.average_noise_sd**2
    floor = noise_variance * (_FLOOR / (noise_variance + np.float32(_FLOOR))) ** np.float32(1.5)
    parts = (floor, clues.posterior_variance + clues.disagreement(estimate, prepared.head))
    average = prepared.average - np.float32(bias)
    errors, rows = [], []
    for core, values, targets in zip(held_out.cores, stack.combined_values, stack.targets, strict=True):
        counted = prepared.mask[core]
        unit = np.sqrt(noise_variance[core][counted])
        n_draws = len(values) // unit.size
        found, scaled_targets = (part.reshape(n_draws, -1) / unit for part in (values, targets))
        errors.append(held_out_squared_errors(found, scaled_targets, average[core][counted] / unit))
        rows.append(np.stack([part[core][counted] / unit**2 for part in parts], axis=1))
    of_average = np.concatenate(errors) * (1 + STRENGTH**2) ** -_GROWTH
    factors = fit_factors(np.concatenate(rows), of_average, usual, (2 * level_uncertainty) ** 2)
    return np.sqrt(sum(np.float32(factor) * part for factor, part in zip(factors, parts)))


def risk_beside_expectation(
    risk: float, standard_error: float, mean_error: float, expected_squared_error: float
) -> float:
    """Risk drawn towards what the map of the expected error says, as far as chance leaves it open.

    The risk is the difference of two large numbers: in a brain of ten thousand voxels its error is as large
    as the squared error that is left. Where many blocks agree, it stays as it is.

    Parameters
    ----------
    risk : float
        Squared error of the result less that of the mean, as measured on held-out blocks.
    standard_error : float
        Standard error of the risk.
    mean_error : float
        Squared error of the mean on these blocks.
    expected_squared_error : float
        Mean square of the map there.

    Examples
    --------
    >>> [round(risk_beside_expectation(*measured, 1.0, 0.2), 3) for measured in ((-0.9, 0.001), (-1.1, 0.4))]
    [-0.9, -0.803]
    """
    spread = _MODEL_SPREAD * expected_squared_error
    weight = spread**2 / (spread**2 + standard_error**2)
    return weight * risk + (1 - weight) * (expected_squared_error - mean_error)


def held_out_squared_errors(
    values: NDArray[np.floating], targets: NDArray[np.floating], average: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Squared error of a result in every voxel, without bias, though with much noise.

    The targets are the average and noise that is known, as strong as that of the average but for a factor,
    and independent of it. The squared distance to the average, ``(f - m)**2``, is less than error and noise
    by twice the product of the two; the same product with the known noise has the same mean, and so has its
    square that of the noise.

    Parameters
    ----------
    values : (D, n) array
        Result in n voxels for each of D recorruptions of strength `STRENGTH`, in noise SDs of the average.
    targets : (D, n) array
        Independent targets, same unit.
    average : (n,) array
        Average of the repetitions, without its Rician bias, same unit.

    Returns
    -------
    squared_errors : (n,) array
        Mean over the recorruptions; single values may be negative.
    """
    distance, known = values.astype(np.float64) - average, average - targets.astype(np.float64)
    noise_variance = STRENGTH**2 * np.mean(known**2)
    return (distance**2 + 2 * distance * known).mean(axis=0) - noise_variance


def fit_factors(
    rows: NDArray[np.floating],
    errors: NDArray[np.floating],
    usual_factors: NDArray[np.float64] = USUAL_FACTORS,
    shared_variance: float = 0.0,
) -> NDArray[np.float64]:
    """Factors of the parts of the squared error, between what simulations and what held-out voxels say.

    Parameters
    ----------
    rows : (n, 2) array
        Floor, and posterior variance with disagreement, in units of the noise variance.
    errors : (n,) array
        Squared errors in that unit.
    usual_factors : (2,) array
        What simulations have shown.
    shared_variance : float
        Squared SD of what is wrong with all of these errors alike.

    Returns
    -------
    factors : (2,) array
        Not negative. The average error is the most probable one, known beforehand to `_SCALE_SPREAD`; so
        is what each part has of it, known to `_FACTOR_SPREAD`.
    """
    rows, usual = rows.astype(np.float64), rows.mean(axis=0, dtype=np.float64) @ usual_factors
    scatter = max(float(np.var(errors)), 1e-6)
    mean_variance = scatter / len(errors) + shared_variance
    weight = _SCALE_SPREAD**2 / (_SCALE_SPREAD**2 + mean_variance / usual**2)
    centre = max(1 + weight * (float(np.mean(errors)) / usual - 1), _LEAST_SCALE) * usual_factors
    precision = np.diag((_FACTOR_SPREAD * centre) ** -2.0)
    # What is wrong with all alike is a direction of which nothing is learned.
    shared = shared_variance / (scatter + len(errors) * shared_variance)
    sums = rows.sum(axis=0)
    normal = (rows.T @ rows - shared * np.outer(sums, sums)) / scatter + precision
    root = np.linalg.cholesky(normal)
    target = (rows.T @ errors - shared * sums * errors.sum()) / scatter + precision @ centre
    factors, _ = optimize.nnls(root.T, np.linalg.solve(root, target))
    average = rows.mean(axis=0)
    return factors * (average @ centre) / max(average @ factors, 1e-12)
