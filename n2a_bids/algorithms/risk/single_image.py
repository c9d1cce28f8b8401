"""Stein's unbiased risk (SURE) of candidates for a single image, at its estimated noise level.

With simulated noise n of the level of the image y, y + a n and y - n/a have the same signal and independent
noise if the level is right, so that the squared distance of a denoised y + a n from y - n/a is its squared
error, plus what is the same for all candidates (Pang et al., "Recorrupted-to-Recorrupted", CVPR 2021; Stein's
unbiased estimate is its limit for small a). If the noise variance is wrong by a part d, the gain of a strong
denoiser is wrong by twice that part of the noise power.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.masked_filters import box_within
from n2a_bids.algorithms.noise.covariance import draw_noise
from n2a_bids.algorithms.normalization import Volume
from n2a_bids.algorithms.preparation.repetitions import Prepared
from n2a_bids.algorithms.quality.gain import Gain, denoising_gain
from n2a_bids.algorithms.risk.candidates import Candidate, estimate_average
from n2a_bids.algorithms.risk.choice import decide
from n2a_bids.algorithms.risk.held_out import HeldOut
from n2a_bids.algorithms.risk.stacking import Stack, stack_candidates
from n2a_bids.algorithms.risk.uncertainty import Clues, expected_error

_STRENGTH = 0.4
"""Of recorruption: small keeps the input close to the image that is denoised in the end."""

_USUAL_FACTORS, _USUAL_VARIANCE, _ERROR_GROWTH = np.array([0.14, 1.03]), 0.055, 0.06
"""Squared error over floor and doubt, the noise variance (squared z-scores) for which that holds, and the
power of it with which both grow: networks that were not trained on the image itself find less in strong
noise. On seven heads at noise 0.1 to 0.6 every tenth of the voxels then comes out within 21 %
(``n2a-tools benchmark --calibration --repetitions 1``)."""


def compare_alone(
    candidates: Sequence[Candidate],
    prepared: Prepared,
    held_out: HeldOut,
    bias: NDArray[np.float32] | float,
    context: Context,
    rng: np.random.Generator,
) -> tuple[Stack, float, float]:
    """Stein's risk of every candidate inside the brain part of the held-out blocks.

    Parameters
    ----------
    candidates : sequence of Candidate
        The first is the image as it is.
    prepared : Prepared
        One image, with its noise map.
    bias : (X, Y, Z) float array or 0.0
        Rician bias of the image: a candidate that keeps it pays for it.
    rng : Generator
        Of the simulated noise; each draw is used with both signs.

    Returns
    -------
    stack : Stack
    noise_power, bias_power : float
        Mean squares in the blocks.
    """
    offset = np.broadcast_to(np.float32(bias), prepared.mask.shape)
    louder = np.float32(np.sqrt(1 + _STRENGTH**2))
    stronger = replace(prepared, repetition_noise_sd=prepared.repetition_noise_sd * louder)
    predictions, targets, noise_powers, bias_powers = [], [], [], []
    for core, box in zip(held_out.cores, held_out.boxes, strict=True):
        inner = box_within(core, box)
        counted = prepared.mask[core]
        image, noise_sd = prepared.images[(0, *box)], prepared.repetition_noise_sd[box]
        noise = draw_noise(noise_sd, prepared.covariance, rng)
        values, block_targets = [], []
        for sign in (1, -1):
            draw = _cut(stronger, box, image + np.float32(sign * _STRENGTH) * noise)
            estimates = estimate_average(candidates, draw, context)
            target = image - offset[box] - np.float32(sign / _STRENGTH) * noise
            values.append(np.stack([estimate[inner][counted] for estimate in estimates]))
            block_targets.append(target[inner][counted])
        predictions.append(np.hstack(values))
        targets.append(np.hstack(block_targets))
        noise_powers.append(float((noise_sd[inner][counted] ** 2).mean()))
        bias_powers.append(float((offset[core][counted] ** 2).mean()))
    noise_power = float(np.mean(noise_powers))
    stack = stack_candidates(predictions, targets, correction=_STRENGTH**2 * noise_power)
    return stack, noise_power, float(np.mean(bias_powers))


def _cut(prepared: Prepared, box: tuple[slice, ...], image: Volume) -> Prepared:
    """A box of the image, with other intensities in it."""
    return replace(
        prepared,
        images=image[None],
        mask=prepared.mask[box],
        head=prepared.head[box],
        repetition_noise_sd=prepared.repetition_noise_sd[box],
    )


def reason_against(stack: Stack, noise_power: float, bias_power: float, uncertainty: float) -> str:
    """Why the image is kept as it is; empty where denoising is better beyond doubt, and can be true.

    Parameters
    ----------
    noise_power, bias_power : float
        Of `compare_alone`.
    uncertainty : float
        Relative, of the noise SD.

    Returns
    -------
    reason : str
        Half a sentence.
    """
    doubt = 2 * uncertainty * noise_power
    most_gain = noise_power + bias_power + doubt
    found = decide(stack.combined_risk, stack.combined_standard_error, most_gain, doubt)
    return {
        "won": "",
        "lost": "no candidate was better by more than its noise level is uncertain",
        "impossible": "the estimated error came out below zero, "
        "so the noise is weaker than it was taken to be",
    }[found]


def survives_renewed_noise(
    candidates: Sequence[Candidate],
    shares: NDArray[np.float64],
    prepared: Prepared,
    held_out: HeldOut,
    context: Context,
    rng: np.random.Generator,
) -> bool:
    """Whether the blend finds its own result again, from it and new noise, closer than that noise is.

    Parameters
    ----------
    shares : (K,) float array
        Of the candidates in the blend.
    prepared, held_out, context
        As in `compare_alone`.
    rng : Generator
        Of the new noise.
    """
    error = noise_power = 0.0
    used = [candidate for candidate, share in zip(candidates, shares, strict=True) if share > 0]
    weights = shares[shares > 0].astype(np.float32)
    for core, box in list(zip(held_out.cores, held_out.boxes, strict=True))[::2]:
        inner = box_within(core, box)
        counted = prepared.mask[core]

        def blend(image: Volume, box: tuple[slice, ...] = box) -> Volume:
            return np.tensordot(weights, estimate_average(used, _cut(prepared, box, image), context), axes=1)

        truth = blend(prepared.images[(0, *box)])
        noise = draw_noise(prepared.repetition_noise_sd[box], prepared.covariance, rng)
        observed = truth + prepared.bias(truth, prepared.repetition_noise_sd[box]) + noise
        error += float(((blend(observed) - truth)[inner][counted] ** 2).sum())
        noise_power += float((noise[inner][counted] ** 2).sum())
    return error < noise_power


@dataclass(frozen=True, slots=True)
class DecisionAlone:
    """What Stein's risk says of the candidates; powers and errors in squared z-scores."""

    stack: Stack
    noise_power: float
    bias_power: float
    reason: str
    """Half a sentence: why the image is kept as it is; empty where it is not."""

    @property
    def error_of_image(self) -> float:
        """Mean squared error of the image as it is."""
        return self.noise_power + self.bias_power

    @property
    def gain(self) -> Gain:
        """Gain of the combination over the image as it is."""
        if self.reason:
            return Gain()
        return Gain(1.0, denoising_gain(self.noise_power, self.error_of_image, self.stack.combined_risk))


def decide_alone(
    candidates: Sequence[Candidate],
    prepared: Prepared,
    held_out: HeldOut,
    bias: NDArray[np.float32] | float,
    uncertainty: float,
    context: Context,
    rng: np.random.Generator,
) -> DecisionAlone:
    """Compare candidates, and ask whether their combination is better than the image beyond doubt.

    Parameters
    ----------
    candidates, prepared, held_out, bias, context, rng
        As of `compare_alone`.
    uncertainty : float
        Relative, of the noise SD.
    """
    stack, noise_power, bias_power = compare_alone(candidates, prepared, held_out, bias, context, rng)
    reason = reason_against(stack, noise_power, bias_power, uncertainty)
    known = (candidates, stack.weights, prepared, held_out, context, rng)
    if not reason and not survives_renewed_noise(*known):
        reason = "what it made of the image is not what it makes of it again under new noise of this level"
    return DecisionAlone(stack, noise_power, bias_power, reason)


def expected_error_alone(
    clues: Clues,
    estimate: Volume,
    decision: DecisionAlone,
    prepared: Prepared,
    held_out: HeldOut,
    bias: NDArray[np.float32] | float,
    uncertainty: float,
) -> Volume | None:
    """Root of the expected squared error of every voxel of what became of one image alone.

    Parameters
    ----------
    clues, estimate, prepared, held_out, bias
        As of `expected_error`.
    uncertainty : float
        Relative, of the noise SD.

    Returns
    -------
    error_sd : (X, Y, Z) float32 array or None
        z-scores; None where the image was kept as it is, whose noise is known.
    """
    if decision.reason:
        return None
    noise_variance = float(np.mean(prepared.average_noise_sd[prepared.mask] ** 2))
    usual = _USUAL_FACTORS * (noise_variance / _USUAL_VARIANCE) ** _ERROR_GROWTH
    known = (clues, estimate, decision.stack, prepared, held_out, bias)
    return expected_error(*known, usual=usual, level_uncertainty=uncertainty)


def no_more_than_noise(
    estimate: Volume,
    error_sd: Volume | None,
    prepared: Prepared,
    bias: NDArray[np.float32] | float,
    uncertainty: float,
) -> tuple[Volume, Volume | None]:
    """The estimate, drawn towards the image where more is missing than noise of the level can hold.

    Parameters
    ----------
    estimate : (X, Y, Z) float32 array
        z-scores.
    error_sd : (X, Y, Z) float32 array or None
        Expected error of it.
    prepared : Prepared
        One image, with its noise map.
    bias : (X, Y, Z) float array or 0.0
        Rician bias of the image.
    uncertainty : float
        Relative, of the noise SD.

    Returns
    -------
    estimate, error_sd : as given
        Of an estimate of least squared error, the noise that it keeps has its squared error for a covariance
        with all of the noise: so that of a mixture with the image is known.
    """
    mask, average = prepared.mask, prepared.average
    taken = average - estimate
    offset = np.broadcast_to(np.float32(bias), mask.shape)[mask]
    power = float(((taken[mask] - offset) ** 2).mean())
    limit = float((prepared.repetition_noise_sd[mask] ** 2).mean()) * (1 + 2 * uncertainty)
    if power <= limit:
        return estimate, error_sd
    part = np.float32(np.sqrt(limit / power))
    if error_sd is not None:
        left = (1 - part) ** 2
        error_sd = np.sqrt((1 - left) * error_sd**2 + left * prepared.average_noise_sd**2)
    return average - part * taken, error_sd
