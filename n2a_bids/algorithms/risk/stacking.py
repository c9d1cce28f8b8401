"""Stacking: the blend of candidates of least risk on held-out blocks, with its standard error.

For repetitions ``y_r`` of one signal with independent noise of variance
``s_r**2``, the weights ``v = w + a*u`` and ``t = w - u/a`` with ``sum(u) = 0`` and
``sum(w * u * s**2) = 0``, ``sum(u**2 * s**2) = sum(w**2 * s**2)`` give two images with
the same signal and uncorrelated noise (recorruption, after Pang et al., CVPR 2021,
"Recorrupted-to-Recorrupted", with real instead of simulated noise). For any
fixed function f, ``|f(sum(v*y)) - sum(t*y)|**2`` is then its squared error plus
a constant that does not depend on f.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize

from n2a_bids.algorithms.averaging import RepetitionWeights
from n2a_bids.record.denoising import CandidateRisk, Choice

STRENGTH = 0.4
"""Of the recorruption by which candidates are compared: ``a`` above."""

_LEAST_SHARE, _LEAST_COSTLY_SHARE = 0.02, 0.05
"""In a combination. Near the best one the risk changes with the square of a share: a pretrained network at
another noise level, of which 0.06 were taken, brought 0.009 dB, and was a pass over the whole head."""


def zero_sum_direction(weighting: RepetitionWeights, generator: torch.Generator) -> NDArray[np.float64]:
    """Random contrast of repetitions whose noise is independent of, and as strong as, the average's.

    Parameters
    ----------
    weighting : RepetitionWeights
        Of the average: inverse to the variances, or equal with equal variances.

    Returns
    -------
    direction : (R,) float array
        Sum zero.

    Examples
    --------
    >>> from n2a_bids.algorithms.averaging import equal_weights
    >>> u = zero_sum_direction(equal_weights(2), torch.Generator().manual_seed(0))
    >>> np.abs(u).round(6).tolist()
    [0.5, 0.5]
    """
    draw = torch.randn(len(weighting.weights), generator=generator, dtype=torch.float64).numpy()
    # Remove what would correlate with the average: u must be orthogonal to 1, and w*s2 is
    # proportional to 1 for inverse-variance weights.
    direction = draw - draw.mean()
    power = weighting.variance / (direction**2 * weighting.variance_ratio).sum()
    return direction * np.sqrt(power)


def draw_contrasts(
    weighting: RepetitionWeights, generator: torch.Generator, n_draws: int
) -> list[NDArray[np.float64]]:
    """Contrasts of repetitions, every second one the mirror image of that before.

    Repetitions are averaged alike where their noise is about equal. What little is unequal correlates the
    noise of inputs and targets: three repetitions whose noise SDs are as 0.95, 1 and 1.05 would, with two
    contrasts, show a perfect image with a squared error anywhere within 0.2 of that of the mean. What one
    contrast adds to a risk, its mirror image takes from it.

    Parameters
    ----------
    weighting, generator
        As of `zero_sum_direction`.
    n_draws : int
        Even.

    Returns
    -------
    contrasts : list of (R,) float arrays
        Two repetitions have one contrast and its mirror image, whatever is drawn.

    Examples
    --------
    >>> from n2a_bids.algorithms.averaging import equal_weights
    >>> one, other = draw_contrasts(equal_weights(3), torch.Generator().manual_seed(0), 2)
    >>> bool((one == -other).all())
    True
    """
    n_directions = 1 if len(weighting.weights) == 2 else n_draws // 2
    drawn = [zero_sum_direction(weighting, generator) for _ in range(n_directions)]
    return [sign * drawn[pair % n_directions] for pair in range(n_draws // 2) for sign in (1, -1)]


@dataclass(frozen=True, slots=True)
class Stack:
    """Best convex combination of candidates, and their risks."""

    weights: NDArray[np.float64]
    """(K,) non-negative, sum 1."""
    risks: NDArray[np.float64]
    """(K,) risk of each candidate minus that of the first."""
    standard_errors: NDArray[np.float64]
    """(K,) standard error of `risks`, from the spread between blocks."""
    combined_risk: float
    combined_standard_error: float
    block_risks: NDArray[np.float64]
    """(B, K) of the candidates, and"""
    combined_block_risks: NDArray[np.float64]
    """(B,) of the combination, in every block."""
    combined_values: tuple[NDArray[np.float32], ...] = ()
    """What the combination makes of the counted voxels of every block, and"""
    targets: tuple[NDArray[np.float32], ...] = ()
    """what it was compared with."""


def stack_candidates(
    predictions: list[NDArray[np.float32]],
    targets: list[NDArray[np.float32]],
    correction: float | Sequence[float] = 0.0,
    costly: Collection[int] = (),
) -> Stack:
    """Compare candidates by their squared distance to independent noisy targets, and combine them.

    The combination is fitted to the targets that judge it: its few weights gain by that what a few
    free numbers can.

    Parameters
    ----------
    predictions : list over blocks of (K, n) float arrays
        Each candidate's values at the counted voxels of a block, those of several draws of one block
        behind each other; candidate 0 is the plain mean.
    targets : list over blocks of (n,) float arrays
    correction : float or sequence over blocks of float
        Subtracted from the first candidate's risk: what recorruption added to the noise of the plain mean.
    costly : collection of int
        Candidates whose estimate takes work that no other needs: these are left out of the combination
        unless they are a twentieth of it.
    """
    grams, sizes = [], []
    for values, target in zip(predictions, targets):
        error = (values - target).astype(np.float64)
        grams.append(error @ error.T / target.size)
        sizes.append(target.size)
    blocks, block_weights = np.stack(grams), np.array(sizes) / np.sum(sizes)
    blocks[:, 0, 0] -= np.asarray(correction)
    gram = np.tensordot(block_weights, blocks, axes=1)
    combination = _minimise_on_simplex(gram, costly)
    losses = np.diagonal(blocks, axis1=1, axis2=2)
    combined = np.einsum("i,bij,j->b", combination, blocks, combination)
    block_risks, combined_block_risks = losses - losses[:, :1], combined - losses[:, 0]
    risks, errors = average_blocks(block_risks, block_weights)
    combined_risk, combined_error = average_blocks(combined_block_risks, block_weights)
    return Stack(
        weights=combination,
        risks=risks,
        standard_errors=errors,
        combined_risk=float(combined_risk),
        combined_standard_error=float(combined_error),
        block_risks=block_risks,
        combined_block_risks=combined_block_risks,
        combined_values=tuple(combination.astype(np.float32) @ values for values in predictions),
        targets=tuple(targets),
    )


def average_blocks(
    values: NDArray[np.float64], block_weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted average over blocks, and its standard error from the spread between them.

    Parameters
    ----------
    values : (B, ...) float array
        Of independent blocks.
    block_weights : (B,) float array
        Weights, sum 1.

    Returns
    -------
    average, standard_error : (...) float arrays
        The error is infinite for a single block: nothing is known of the spread.

    Examples
    --------
    >>> average, error = average_blocks(np.array([1.0, 3.0]), np.array([0.5, 0.5]))
    >>> float(average), float(error)
    (2.0, 1.0)
    """
    average = np.tensordot(block_weights, values, axes=1)
    if len(values) < 2:
        return average, np.full_like(average, np.inf)
    variance = np.tensordot(block_weights**2, (values - average) ** 2, axes=1)
    return average, np.sqrt(variance * len(values) / (len(values) - 1))


def _minimise_on_simplex(gram: NDArray[np.float64], costly: Collection[int]) -> NDArray[np.float64]:
    """Non-negative weights of sum one with the least quadratic form, without small ones."""
    least = np.full(len(gram), _LEAST_SHARE)
    least[list(costly)] = _LEAST_COSTLY_SHARE
    found = _solve_on_simplex(gram)
    kept = found >= least
    if (dropped := ~kept & (found >= _LEAST_SHARE)).any():
        # What goes was part of the balance: the others find another.
        found[kept] = _solve_on_simplex(gram[np.ix_(kept, kept)])
        found[dropped] = 0
        kept = found >= _LEAST_SHARE
    found[~kept] = 0
    found /= found.sum()
    best = np.eye(len(gram))[int(np.argmin(np.diag(gram)))]
    return found if found @ gram @ found < best @ gram @ best else best


def _solve_on_simplex(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    n_candidates = len(gram)
    # The targets' noise adds one constant to every entry: taking it out conditions the problem.
    centred = gram - gram.min()
    scale = max(float(np.abs(centred).max()), 1e-30)
    best = np.eye(n_candidates)[int(np.argmin(np.diag(gram)))]
    result = optimize.minimize(
        lambda t: t @ centred @ t / scale,
        best,
        jac=lambda t: 2 * centred @ t / scale,
        bounds=[(0, 1)] * n_candidates,
        constraints={"type": "eq", "fun": lambda t: t.sum() - 1, "jac": lambda t: np.ones(n_candidates)},
        method="SLSQP",
        options={"ftol": 1e-10, "maxiter": 200},
    )
    return np.clip(result.x, 0, None) / max(np.clip(result.x, 0, None).sum(), 1e-12)


def list_risks(names: Sequence[str], stack: Stack) -> tuple[CandidateRisk, ...]:
    """Risks relative to the first candidate as records, those of the combination last, as ``blend``.

    That last one has the risks of its blocks, too: denoisers that were judged on the same blocks can
    be compared block by block, which is surer than by their standard errors.
    """
    risks = [*stack.risks, stack.combined_risk]
    rows = list_rows([*names, "blend"], risks, [*stack.standard_errors, stack.combined_standard_error])
    return (*rows[:-1], replace(rows[-1], block_risks=tuple(stack.combined_block_risks.tolist())))


def list_rows(
    names: Sequence[str], risks: Sequence[float], errors: Sequence[float]
) -> tuple[CandidateRisk, ...]:
    """Names, risks and standard errors as records; an error that nothing is known of is ``None``."""
    return tuple(
        CandidateRisk(name, float(risk), float(error) if np.isfinite(error) else None)
        for name, risk, error in zip(names, risks, errors, strict=True)
    )


def describe_blend(names: Sequence[str], weights: NDArray[np.float64]) -> Choice:
    """What was kept, as a record: the one candidate, or the blend with the share of each.

    Parameters
    ----------
    names : sequence of K str
        Of the candidates; the plain mean is called ``mean``.
    weights : (K,) float array
        Non-negative, sum 1.

    Returns
    -------
    chosen : Choice
        Name, one sentence, weights by falling size where there are several, and that the mean has not won.

    Examples
    --------
    >>> describe_blend(["mean", "network"], np.array([0.25, 0.75])).description
    'a blend of least estimated risk: 75% network, 25% plain mean'
    """
    order = [index for index in np.argsort(-weights, kind="stable") if weights[index] > 0]
    if len(order) == 1:
        name = names[order[0]]
        sentence = f"the candidate of least estimated risk, {name}"
        return Choice(name, sentence)
    kept = {names[index]: round(float(weights[index]), 4) for index in order}
    parts = [f"{weight:.0%} {'plain mean' if name == 'mean' else name}" for name, weight in kept.items()]
    sentence = "a blend of least estimated risk: " + ", ".join(parts)
    return Choice("blend", sentence, kept)
