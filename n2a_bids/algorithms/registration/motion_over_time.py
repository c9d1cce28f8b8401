"""Smooths head motion over the volumes of a series: drift and jumps are kept, estimation noise is not.

A head keeps still or drifts, and now and then jumps. Its course is a random walk whose steps have long tails
(Student's t). Their scale is estimated from the measurements themselves (empirical Bayes), so that noise
moves no head that kept still, and a head that is seen to move is followed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded

_TAILS = 3.0
"""Degrees of freedom of the steps: most are small, few are large."""
_N_SCALES = 25
_DOUBT = 0.5
"""Log-likelihood that a scale may lack beside the best: one standard error of the scale."""
_N_REFINEMENTS = 15
_MOST_JUMPS, _JUMP_VOLUMES = 10, 8
"""Looked for in a series, and volumes on either side by which they are found."""
_NEIGHBOURHOOD = 8
"""Volumes around the place where two groups are nearest in time."""


def believed_course(
    measured: NDArray[np.float64], variances: NDArray[np.float64], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Most credible course of K components of motion that share the scale of their steps.

    Parameters
    ----------
    measured : (C, K) array
        Components at C times, such as three shifts in mm.
    variances : (C, K) array
        Squares of their standard errors; infinite where nothing was measured.
    times : (C,) array
        Rising.

    Returns
    -------
    course : (C, K) array
        The measurements where their errors are small beside the steps between them; their weighted mean
        where the steps are no larger than the errors explain; all as it is where nothing was measured.
    """
    told = variances[np.isfinite(variances)]
    if len(measured) < 2 or not told.size:
        return measured.copy()
    seen = np.isfinite(variances).any(axis=0)
    if not seen.all():
        # Of a component that was never measured nothing follows for the others.
        course = measured.copy()
        course[:, seen] = believed_course(measured[:, seen], variances[:, seen], times)
        return course
    known = np.maximum(variances, 1e-9 * max(float(np.median(told)), 1e-12))
    expected = _expected_steps(measured, known, np.diff(times))
    step_variances = expected
    for _ in range(_N_REFINEMENTS):
        course, squares = _smoothed(measured, known, step_variances)
        # Expectation of the scale of each step, given what it may have been (EM for Student's t).
        step_variances = (_TAILS * expected + squares.sum(axis=1)) / (_TAILS + measured.shape[1])
    return course


def join_in_time(
    motions: NDArray[np.float64], groups: list[NDArray[np.intp]], times: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Shift the courses of groups, each known but for a constant, so that neighbours in time agree.

    Parameters
    ----------
    motions : (C, 6) array
        Small motions; those of all groups but the first are changed.
    groups : list of int arrays
        Volumes whose motions are known relative to each other.
    times : (C,) array
        When they were acquired, in volumes.

    Returns
    -------
    errors : list of (6,) arrays
        For each group the standard error of its constant, from how much neighbours differ; first zeros.
    """
    joined, errors = groups[0], [np.zeros(6)]
    for members in groups[1:]:
        gaps = np.abs(times[members][:, None] - times[joined][None])
        own, others = np.nonzero(gaps <= gaps.min() + _NEIGHBOURHOOD)
        steps = motions[joined[others]] - motions[members[own]]
        # The median: one volume that moved must not take all others of the next group along.
        motions[members] += np.median(steps, axis=0)
        n_independent = min(np.unique(own).size, np.unique(others).size)
        errors.append(
            1.4826 * np.median(np.abs(steps - np.median(steps, axis=0)), axis=0) / n_independent**0.5
        )
        joined = np.concatenate((joined, members))
    return errors


def _expected_steps(measured: NDArray, variances: NDArray, gaps: NDArray) -> NDArray[np.float64]:
    """(C - 1,) variance of each step: small in proportion to time, and large where the head jumped.

    One jump among many small steps would make all of them seem large, and the course between would follow the
    noise. A jump is where the measurements before and after differ so much that it explains them better, by
    more than the chance of finding one in so many places.
    """
    finite = np.where(np.isfinite(variances), variances, 1e6 * np.median(variances[np.isfinite(variances)]))
    steps, jumps = np.diff(measured, axis=0), np.zeros(len(gaps))
    largest = float((steps**2).mean(axis=1).max())
    scale, likelihood = _least_scale(steps, finite, gaps, jumps)
    while np.count_nonzero(jumps) < _MOST_JUMPS:
        place, evidence = _likeliest_jump(measured, finite, jumps > 0)
        beyond_chance = np.log(len(gaps)) + _DOUBT
        if evidence < beyond_chance:
            break
        tried = jumps.copy()
        tried[place] = largest
        found = _least_scale(steps, finite, gaps, tried)
        if found[1] < likelihood + beyond_chance:
            break
        jumps, (scale, likelihood) = tried, found
    return scale * gaps + jumps


def _likeliest_jump(measured: NDArray, variances: NDArray, is_jump: NDArray[np.bool_]) -> tuple[int, float]:
    """Step between two means of up to eight volumes that differ most beside their errors, and the most that
    it can add to the log-likelihood.
    """
    steps = np.arange(len(is_jump))
    ends = np.array([0, *(np.flatnonzero(is_jump) + 1), len(measured)])
    part = np.searchsorted(ends, steps, side="right")
    start = np.maximum(ends[part - 1], steps + 1 - _JUMP_VOLUMES)
    stop = np.minimum(ends[part], steps + 1 + _JUMP_VOLUMES)
    known, values = (
        np.concatenate((np.zeros((1, measured.shape[1])), np.cumsum(one, axis=0)))
        for one in (1 / variances, measured / variances)
    )
    before, after = known[steps + 1] - known[start], known[stop] - known[steps + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = ((values[steps + 1] - values[start]) / before, (values[stop] - values[steps + 1]) / after)
        evidence = ((means[1] - means[0]) ** 2 / (1 / before + 1 / after)).sum(axis=1) / 2
    evidence[is_jump | ~np.isfinite(evidence)] = -np.inf
    return int(np.argmax(evidence)), float(evidence.max())


def _least_scale(steps: NDArray, finite: NDArray, gaps: NDArray, jumps: NDArray) -> tuple[float, float]:
    """Smallest variance of a step per unit of time that the measured steps do not speak against.

    Beside it the largest log-likelihood.
    """
    # Steps of nothing are as good as small ones, and leave matrices that can be inverted.
    small = steps[jumps == 0] ** 2 / gaps[jumps == 0, None]
    top = max(float(small.mean()) if small.size else 0.0, 1e-12, 1e-6 * float(np.median(finite)))
    scales = top * np.logspace(-5, 0.5, _N_SCALES)
    likelihoods = np.array([_log_likelihood(steps, finite, scale * gaps + jumps) for scale in scales])
    return float(scales[np.argmax(likelihoods > likelihoods.max() - _DOUBT)]), float(likelihoods.max())


def _log_likelihood(steps: NDArray, variances: NDArray, step_variances: NDArray) -> float:
    total = 0.0
    for step, variance in zip(steps.T, variances.T):
        # Neighbouring steps share a measurement: their covariance has three diagonals.
        covariance = np.zeros((2, len(step)))
        covariance[0] = step_variances + variance[1:] + variance[:-1]
        covariance[1, :-1] = -variance[1:-1]
        factor = cholesky_banded(covariance, lower=True)
        explained = float(step @ cho_solve_banded((factor, True), step))
        total -= 0.5 * explained + float(np.log(factor[0]).sum())
    return total


def _smoothed(measured: NDArray, variances: NDArray, step_variances: NDArray) -> tuple[NDArray, NDArray]:
    """Posterior mean of the course, (C, K), and of the squares of its steps, (C - 1, K).

    A Kalman filter and the smoother of Rauch, Tung and Striebel (AIAA J 1965), in which no two large numbers
    are subtracted: the time is that of C steps.
    """
    means, spreads = _filtered(measured, variances, step_variances)
    course, squares = means.copy(), np.empty((len(measured) - 1, measured.shape[1]))
    spread = spreads[-1]
    for place in range(len(measured) - 2, -1, -1):
        variance = step_variances[place]
        # Of the next place, the part by which a place lies on the near side of it, given what came before.
        share = variance / (spreads[place] + variance)
        step = share * (course[place + 1] - means[place])
        course[place] = course[place + 1] - step
        own = variance * (1 - share)
        squares[place] = step**2 + share**2 * spread + own
        spread = own + (1 - share) ** 2 * spread
    return course, squares


def _filtered(measured: NDArray, variances: NDArray, step_variances: NDArray) -> tuple[NDArray, NDArray]:
    """(C, K) means and variances of the course, given what was measured until then; infinite before that."""
    means, spreads = np.zeros_like(measured), np.full(measured.shape, np.inf)
    mean, spread = means[0], spreads[0]
    for place, (values, variance) in enumerate(zip(measured, variances, strict=True)):
        before = spread + step_variances[place - 1] if place else spread
        known = 1 / before + 1 / variance
        gain = np.divide(1 / variance, known, out=np.zeros_like(mean), where=known > 0)
        mean = mean + gain * (values - mean)
        spread = np.divide(1, known, out=np.full_like(mean, np.inf), where=known > 0)
        means[place], spreads[place] = mean, spread
    return means, spreads
