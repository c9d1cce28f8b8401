"""Strategy ``auto`` for a single T1w image: pretrained networks, non-local Bayes, judged by Stein's risk.

Nothing was repeated, so that no independent measurement can check the result. All that is known of the noise
is what the image tells of it, and every decision is made so that an error of that level does no harm: the
level may only be lowered, a gain must be larger than what the level's uncertainty could feign, and no more is
taken away than noise of the level could hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.averaging import equal_weights
from n2a_bids.algorithms.constant_places import find_constant
from n2a_bids.algorithms.context import Context, Stopwatch
from n2a_bids.algorithms.filters.patch_search import DEFAULT_SEARCH
from n2a_bids.algorithms.nn.inference import FLIPS
from n2a_bids.algorithms.nn.weights import PretrainedWeights, place_network
from n2a_bids.algorithms.noise.air import Magnitude
from n2a_bids.algorithms.noise.single_image import NoiseOfOneImage, estimate_noise
from n2a_bids.algorithms.normalization import Volume, match_scales
from n2a_bids.algorithms.preparation.repetitions import Prepared, find_head, restore
from n2a_bids.algorithms.preparation.zero_filling import (
    MeasuredImage,
    enlarge_map,
    resize_spectrum,
    undo_zero_filling,
)
from n2a_bids.algorithms.repetitions import DenoisedImage, Repetitions
from n2a_bids.algorithms.risk.blend import estimate_with_clues
from n2a_bids.algorithms.risk.candidates import PRETRAINED, Candidate, estimate_average
from n2a_bids.algorithms.risk.choice import list_candidates
from n2a_bids.algorithms.risk.held_out import HeldOut, hold_out
from n2a_bids.algorithms.risk.single_image import (
    compare_alone,
    decide_alone,
    expected_error_alone,
    no_more_than_noise,
)
from n2a_bids.algorithms.risk.stacking import describe_blend
from n2a_bids.algorithms.risk.uncertainty import Clues, with_uncertainty
from n2a_bids.record.denoising import Choice, RepetitionRecord, StrategyRecord

_RAYLEIGH_ASYMMETRY = 1.26
_NO_CHECK = (
    "nothing was repeated: noise level and error are estimated from this one image, and no second "
    "measurement can show whether what was taken away was noise; look at the residual before relying on fine "
    "detail"
)


@dataclass(frozen=True, slots=True)
class SingleConfig:
    """Settings of a recipe of `auto` for one image alone."""

    weights: PretrainedWeights | None
    fusion: PretrainedWeights | None = None
    n_flips: int = 2
    keep_noise_floor: bool = False
    noise_factors: tuple[float, ...] = (0.8, 0.9, 1.0)
    """On the estimated noise SD that the network is told; never above 1."""
    nonlocal_passes: tuple[int, ...] = (1, 2)
    noise_sd: float | None = None
    """Noise SD in image intensity, where it is known; estimated by default."""


def denoise(repetitions: Repetitions, config: SingleConfig, context: Context) -> DenoisedImage:
    """Denoise one anatomical image that has no other repetition.

    Parameters
    ----------
    repetitions : Repetitions
        One repetition of one channel.

    Returns
    -------
    denoised : DenoisedImage
        On the grid of the image; areas of one value (removed face, padding) stay as they are.

    Raises
    ------
    ValueError
        If there are no pretrained weights, or the image has no noise.
    """
    if config.weights is None:
        raise ValueError("one image alone is denoised by pretrained networks, of which there are no weights")
    if repetitions.real_valued:
        config = replace(config, keep_noise_floor=True)
    image, mask = repetitions.data[0, ..., 0], repetitions.mask
    measured = undo_zero_filling(image, mask)
    done = _denoise(measured, config, context)
    if measured.thinned is not None:
        done = _fill_again(image, measured.image, done)
    empty = find_constant(image)[..., None]
    return replace(
        done,
        data=np.where(empty, image[..., None], done.data),
        uncertainty=np.where(empty, 0, done.uncertainty),
    )


def _fill_again(image: Volume, measured: Volume, small: DenoisedImage) -> DenoisedImage:
    """The result on the grid of the stored image, from which the interpolated residual is taken."""
    taken = resize_spectrum(measured - small.data[..., 0], image.shape)
    warnings = (*small.record.warnings, _filled_words(image.shape, measured.shape))
    noise_sd = np.full(image.shape, np.median(small.noise_sd), np.float32)
    error_sd = enlarge_map(small.uncertainty[..., 0], image.shape)
    return DenoisedImage(
        data=(image - taken)[..., None],
        noise_sd=noise_sd[..., None],
        uncertainty=error_sd[..., None],
        gain=small.gain,
        record=replace(small.record, warnings=warnings),
    )


def _filled_words(stored: tuple[int, ...], measured: tuple[int, ...]) -> str:
    found, small = (" x ".join(map(str, shape)) for shape in (stored, measured))
    return (
        f"the scanner interpolated this image from a matrix of about {small} voxels to {found} "
        "(zero-filling): it was denoised as it was measured, and what was taken away was interpolated back"
    )


def _denoise(measured: MeasuredImage, config: SingleConfig, context: Context) -> DenoisedImage:
    watch = Stopwatch(context.clock)
    prepared, noise = prepare_alone(measured, config)
    held_out = hold_out(prepared.mask, context.generator)
    rng = np.random.default_rng(context.draw_seed())
    watch.lap("noise")
    context.report("choosing the noise level of the pretrained network")
    candidates, bias = _candidates(prepared, held_out, config, context, rng)
    context.report("comparing candidates on held-out blocks")
    decision = decide_alone(candidates, prepared, held_out, bias, noise.uncertainty, context, rng)
    stack, reason, doubt = decision.stack, decision.reason, noise.uncertainty
    shares = np.eye(len(candidates))[0] if reason else stack.weights
    watch.lap("risk")
    context.report("denoising the whole volume")
    estimate, clues = _combine(candidates, shares, prepared, config, context)
    watch.lap("predict")
    error_sd = expected_error_alone(clues, estimate, decision, prepared, held_out, bias, doubt)
    estimate, error_sd = no_more_than_noise(estimate, error_sd, prepared, bias, doubt)
    watch.lap("uncertainty")
    record = StrategyRecord(
        chosen=_choice(candidates, shares, reason),
        candidates=list_candidates(candidates, stack, decision.error_of_image),
        networks=(config.fusion.name,) if config.fusion else (),
        repetitions=(_describe(prepared, noise),),
        rician=prepared.magnitude is not None,
        noise_level_uncertainty=round(noise.uncertainty, 3),
        warnings=_warnings(noise, prepared),
        seconds=watch.seconds(),
    )
    denoised = replace(restore(prepared, estimate, record), gain=decision.gain)
    return with_uncertainty(denoised, prepared, bias, error_sd)


def prepare_alone(measured: MeasuredImage, config: SingleConfig) -> tuple[Prepared, NoiseOfOneImage]:
    """The image in z-scores, and its noise in these.

    Parameters
    ----------
    measured : MeasuredImage
        Without zero-filling.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    image, mask, thinned = measured
    if not np.isfinite(image).all():
        raise ValueError("the image contains NaN or infinite values")
    (scale,) = match_scales(image[None], mask)
    scaled = scale.apply(image)
    stored = None if thinned is None else (scale.apply(thinned[0]), thinned[1])
    noise = estimate_noise(scaled, mask, stored)
    if config.noise_sd is not None:
        level = config.noise_sd / scale.gain
        noise = replace(noise, noise_sd=np.full(mask.shape, level, np.float32), level=level, uncertainty=0.0)
    magnitude = noise.magnitude
    if not noise.saw_air and image.min() >= 0:
        # Cropped, or air set to zero: what has no negative value is a magnitude, and of all magnitudes those
        # with Rician noise have the least bias.
        magnitude = Magnitude(scale.apply(np.zeros(1)).item(), noise.level, _RAYLEIGH_ASYMMETRY)
    prepared = Prepared(
        images=scaled[None],
        scales=(scale,),
        mask=mask,
        head=find_head(scaled, mask),
        weighting=equal_weights(1),
        repetition_noise_sd=noise.noise_sd,
        magnitude=None if config.keep_noise_floor else magnitude,
        covariance=noise.covariance,
    )
    return prepared, noise


def _candidates(
    prepared: Prepared,
    held_out: HeldOut,
    config: SingleConfig,
    context: Context,
    rng: np.random.Generator,
) -> tuple[list[Candidate], NDArray[np.float32] | float]:
    """The image as it is, the network at the best noise factors, and what follows it; the Rician bias."""
    network = context.new_network("resunet-t1w", config.weights)
    itself = Candidate("mean")
    tried = [
        Candidate(f"pretrained network (level {factor:g})", network, factor)
        for factor in config.noise_factors
    ]
    stack, _, _ = compare_alone([itself, *tried], prepared, held_out, 0.0, context, rng)
    best = tried[int(np.argmin(stack.risks[1:]))]
    bias: NDArray[np.float32] | float = 0.0
    if prepared.magnitude is not None:
        bias = prepared.bias(estimate_average([best], prepared, context)[0], prepared.repetition_noise_sd)
    covariance = prepared.covariance
    correlation = None if covariance is None else covariance.patch_correlation(DEFAULT_SEARCH.edge)
    first = replace(best, correlation=correlation)
    found = [
        replace(first, name=f"{PRETRAINED} + non-local Bayes {passes}x", nonlocal_passes=passes)
        for passes in config.nonlocal_passes
    ]
    if config.fusion is not None:
        fusion = place_network(config.fusion.name, config.fusion, context.device)
        found.append(replace(found[-1], name=f"{PRETRAINED} + non-local Bayes + fusion", fusion=fusion))
    last = found[-1]
    found.append(replace(last, name=f"{last.name} + local means", keep_local_means=False))
    return [itself, best, *found], bias


def _combine(
    candidates: Sequence[Candidate],
    shares: NDArray[np.float64],
    prepared: Prepared,
    config: SingleConfig,
    context: Context,
) -> tuple[NDArray[np.float32], Clues]:
    used = [candidate for candidate, share in zip(candidates, shares, strict=True) if share > 0]
    estimates, clues = estimate_with_clues(used, prepared, context, FLIPS[: config.n_flips])
    return np.tensordot(shares[shares > 0].astype(np.float32), estimates, axes=1), clues


def _choice(candidates: Sequence[Candidate], shares: NDArray[np.float64], reason: str) -> Choice:
    if reason:
        return Choice("mean", f"the image as it is: {reason}", mean_won=True)
    return describe_blend([candidate.name for candidate in candidates], shares)


def _describe(prepared: Prepared, noise: NoiseOfOneImage) -> RepetitionRecord:
    (scale,) = prepared.scales
    return RepetitionRecord(
        gain=scale.gain, offset=scale.offset, weight=1.0, noise_sd=float(noise.level * scale.gain)
    )


def _warnings(noise: NoiseOfOneImage, prepared: Prepared) -> tuple[str, ...]:
    level = noise.level * prepared.scales[0].gain
    found = [f"{_NO_CHECK} (noise SD {level:.3g}, known to about {noise.uncertainty:.0%})"]
    if noise.is_correlated:
        found.append(
            "the air is noisier than the finest detail of tissue: noise is correlated between neighbours "
            "(filtered by the scanner?), so that a part of it is taken for anatomy and stays"
        )
    return tuple(found)
