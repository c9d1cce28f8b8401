"""Denoises zero-filled repetitions on the matrix that was acquired, where nothing is lost by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.noise.covariance_estimates import difference_covariance
from n2a_bids.algorithms.noise.estimate import brain_and_head_noise_sd
from n2a_bids.algorithms.noise.kspace import find_acquired
from n2a_bids.algorithms.noise.model import agrees_with
from n2a_bids.algorithms.preparation.repetitions import Prepared
from n2a_bids.algorithms.preparation.zero_filling import enlarge_map, resize_mask, resize_spectrum
from n2a_bids.algorithms.repetitions import DenoisedImage
from n2a_bids.algorithms.risk.held_out import hold_out
from n2a_bids.algorithms.risk.stacking import draw_contrasts

_MOST_VOXELS = 0.9
"""Acquired voxels over stored ones, above which the way there and back is not worth it."""

_STRENGTH = 0.4
"""Of the recorruption that the loss is measured on."""

_STANDARD_ERRORS = 2.0

_NEGLIGIBLE = 0.005
"""Part of the noise variance of the average that may be lost: at ends of a box and the edge of k-space."""


def on_acquired_matrix(prepared: Prepared, context: Context) -> Prepared:
    """Repetitions on the acquired matrix, where noise is white; themselves where nothing was zero-filled.

    Parameters
    ----------
    prepared : Prepared
        As stored.

    Returns
    -------
    prepared : Prepared
        The same object unless the noise is coloured, k-space has empty ends, and leaving them out costs no
        signal on blocks of the brain, by the risk.
    """
    if prepared.covariance is None or prepared.n_measured is not None or prepared.background is not None:
        return prepared
    level = float(np.median(prepared.repetition_noise_sd[prepared.mask]))
    acquired = find_acquired(prepared.images[:1], prepared.mask, level)
    if acquired.fraction > _MOST_VOXELS or not agrees_with(prepared.covariance, acquired):
        return prepared
    if not _nothing_is_lost(prepared, acquired.matrix, context):
        return prepared
    images = np.stack([resize_spectrum(image, acquired.matrix) for image in prepared.images])
    mask, head = (resize_mask(one, acquired.matrix) for one in (prepared.mask, prepared.head))
    noise_sd = brain_and_head_noise_sd(images, mask, head)
    covariance = difference_covariance(images, noise_sd, mask)
    return replace(
        prepared,
        images=images,
        mask=mask,
        head=head,
        repetition_noise_sd=noise_sd,
        covariance=None if covariance.is_white else covariance,
    )


def on_stored_grid(denoised: DenoisedImage, stored: Prepared, used: Prepared) -> DenoisedImage:
    """A denoised image back on the grid of the images as stored.

    Parameters
    ----------
    denoised : DenoisedImage
        On the grid of `used`.
    stored, used : Prepared
        Repetitions as they came, and as they were denoised.

    Returns
    -------
    denoised : DenoisedImage
        The same object where both have one grid.
    """
    shape = stored.mask.shape
    if used.mask.shape == shape:
        return denoised
    scale = stored.scales[0]
    lowest = scale.invert(np.full(1, stored.average.min(), np.float32))[0]
    uncertainty = denoised.uncertainty
    if uncertainty is not None:
        uncertainty = np.where(stored.head[..., None], enlarge_map(uncertainty[..., 0], shape)[..., None], 0)
    return replace(
        denoised,
        data=np.maximum(resize_spectrum(denoised.data[..., 0], shape), lowest)[..., None],
        noise_sd=(stored.repetition_noise_sd * np.float32(scale.gain))[..., None],
        uncertainty=uncertainty,
    )


def _nothing_is_lost(prepared: Prepared, matrix: tuple[int, int, int], context: Context) -> bool:
    """Whether the average without the ends of k-space is no farther from the truth than with them."""
    change, weighting = np.zeros(prepared.mask.shape, np.float32), prepared.weighting
    contrasts = draw_contrasts(weighting, context.generator, 2)
    for contrast in contrasts:
        noisy, target = (
            np.tensordot((weighting.weights + part * contrast).astype(np.float32), prepared.images, axes=1)
            for part in (_STRENGTH, -1 / _STRENGTH)
        )
        cut = resize_spectrum(resize_spectrum(noisy, matrix), noisy.shape)
        change += ((cut - target) ** 2 - (noisy - target) ** 2) / len(contrasts)
    blocks = [
        float(change[core][prepared.mask[core]].mean())
        for core in hold_out(prepared.mask, context.generator, fraction=0.5).cores
    ]
    doubt = _STANDARD_ERRORS * float(np.std(blocks)) / np.sqrt(len(blocks))
    noise_variance = float(np.mean(prepared.average_noise_sd[prepared.mask] ** 2))
    return float(np.mean(blocks)) < doubt + _NEGLIGIBLE * noise_variance
