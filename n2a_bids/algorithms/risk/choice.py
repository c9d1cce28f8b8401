"""Chooses by risk: what is there anyway, unless a candidate beats it beyond doubt; words the choice."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.quality.gain import decibels, denoising_gain
from n2a_bids.algorithms.risk.candidates import Candidate
from n2a_bids.algorithms.risk.repetition_weights import WEIGHTED_MEAN
from n2a_bids.algorithms.risk.stacking import Stack, describe_blend, list_risks
from n2a_bids.record.denoising import CandidateRisk, Choice

_CERTAINTY = 2.0
"""Standard errors by which a candidate must beat what is there anyway."""

MOST_GAIN_OF_MEAN = 1.1
"""Of the mean's error, which is known as well as the noise variance is: a candidate that seems to take
away a tenth more than there was may be a perfect one."""

Decision = Literal["won", "lost", "impossible"]


def decide(risk: float, standard_error: float, most_gain: float = math.inf, doubt: float = 0.0) -> Decision:
    """Whether a result is better than what is there anyway, beyond doubt, and can be true.

    Where it is not, the mean (or the image as measured) is delivered: the one rule of all kinds of images.

    Parameters
    ----------
    risk : float
        Mean squared error of the result minus that of what is there anyway.
    standard_error : float
        Of the risk; infinite where it is not known.
    most_gain : float
        Largest gain that can be true: the error that was there, and what is not known of it.
    doubt : float
        Of the risk, where it hangs on a noise level that is estimated.

    Examples
    --------
    >>> decide(-0.5, 0.1), decide(-0.5, 0.3), decide(-0.5, 0.1, doubt=0.4), decide(-1.5, 0.1, most_gain=1.1)
    ('won', 'lost', 'lost', 'impossible')
    """
    surely = risk + _CERTAINTY * standard_error
    if surely < -most_gain:
        return "impossible"
    return "won" if surely + doubt < 0 else "lost"


def decide_on_mean(stack: Stack, mean_error: float) -> tuple[bool, bool]:
    """Whether the mean is kept, since nothing beats it beyond doubt, or since what does cannot be true.

    Parameters
    ----------
    stack : Stack
        Of candidates of which the first is the mean.
    mean_error : float
        Mean squared error of that, in the unit of the risks.

    Returns
    -------
    mean_won, impossible : bool
    """
    found = decide(stack.combined_risk, stack.combined_standard_error, MOST_GAIN_OF_MEAN * mean_error)
    return found != "won", found == "impossible"


def describe_choice(
    candidates: list[Candidate], weights: NDArray[np.float64], mean_won: bool, impossible: bool = False
) -> Choice:
    """The choice as a record: a name, one sentence, and the weights of a blend."""
    if not mean_won:
        return describe_blend([candidate.name for candidate in candidates], weights)
    name = candidates[0].name
    mean = "the mean weighted by noise" if name == WEIGHTED_MEAN else "the plain mean"
    if impossible:
        sentence = (
            f"{mean}: the estimated error came out below zero, so the repetitions differ by more than "
            "independent noise (misaligned, or not of one contrast?)"
        )
    else:
        sentence = f"{mean}: no candidate beat it on the held-out blocks"
    return Choice(name, sentence, mean_won=True)


def list_candidates(
    candidates: list[Candidate], stack: Stack, mean_error: float, error_growth: float = 1.0
) -> tuple[CandidateRisk, ...]:
    """Risks relative to the mean, and the same as a gain in dB.

    Parameters
    ----------
    stack : Stack
        Of the candidates, the first of which is the mean.
    mean_error : float
        Mean squared error of the mean, in the unit of the risks.
    error_growth : float
        Squared error on what candidates were compared by over that on the mean itself.
    """
    rows = list_risks([candidate.name for candidate in candidates], stack)
    growths = (1.0, *(error_growth for _ in rows[1:]))
    return tuple(
        replace(row, gain_over_mean_db=decibels(denoising_gain(growth * mean_error, mean_error, row.risk)))
        for row, growth in zip(rows, growths, strict=True)
    )
