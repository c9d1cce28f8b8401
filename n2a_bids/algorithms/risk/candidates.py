"""`Candidate`: one denoiser that `auto` may choose, and what it makes of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.filters.nonlocal_bayes import BayesSettings, guided_nonlocal_bayes
from n2a_bids.algorithms.nn.blocks import Index
from n2a_bids.algorithms.nn.inference import MARGIN_VOXELS, predict
from n2a_bids.algorithms.normalization import MaskedSmoother
from n2a_bids.algorithms.preparation.repetitions import Prepared
from n2a_bids.algorithms.risk.uncertainty import Clues

_LOCAL_MEAN_VOXELS = 2.0
"""SD of the Gaussian over which estimates keep the mean of the data: white noise hardly reaches such a mean
(5 % of its SD; 15 % of noise that interpolation or zero-filling has made smooth), but a lesion does."""

PRETRAINED = "pretrained network"
"""What a network is called in records that was trained on other images, and"""
SHIPPED = "pretrained network as shipped"
"""that of the package beside one that the user gave."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fixed function of the averaged image."""

    name: str
    network: nn.Module | None = None
    """``None`` without a `function` is the identity: the plain mean."""
    noise_factor: float = 1.0
    """Factor on the noise-level map that the network is told."""
    nonlocal_passes: int = 0
    """Passes of non-local Bayes; the network's estimate guides the first, each result the next."""
    fusion: nn.Module | None = None
    """Network that corrects the last pass by what the network before it says."""
    keep_local_means: bool = True
    """Give back what was taken away where it is smooth."""
    correlation: NDArray[np.float64] | None = None
    """Of the noise of the voxels of a patch, that non-local Bayes takes; white noise without."""
    function: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]] | None = None
    """Any other function of image and noise SD, in place of a network."""


@dataclass(frozen=True, slots=True)
class NoisyImage:
    """What a candidate denoises, and what is known of its noise."""

    image: NDArray[np.float32]
    """(X, Y, Z) z-scores."""
    noise_sd: NDArray[np.float32]
    """(X, Y, Z)."""
    where: NDArray[np.bool_]
    """(X, Y, Z) where non-local Bayes follows the network and local means are kept; elsewhere the network's
    estimate stays."""
    find_bias: Callable[[NDArray[np.float32]], NDArray[np.float32] | float] = lambda guide: np.float32(0)
    """Rician bias of `image`, given a clean image. Non-local Bayes, whose patches have the mean that they
    were measured with, denoises what is left without it, and local means are those of what is left."""


def estimate_all(
    candidates: Sequence[Candidate],
    noisy: NoisyImage,
    context: Context,
    flips: tuple[tuple[int, ...], ...] = ((),),
    *,
    clues: Clues | None = None,
    margin_voxels: int = MARGIN_VOXELS,
) -> list[NDArray[np.float32]]:
    """Denoise an image by every candidate; what several share is computed once.

    What a network, or what follows it, takes away is given back where it is smooth, unless a
    candidate says otherwise: local means of the data, less their Rician bias, stay inside
    the head.

    Parameters
    ----------
    flips : tuple of tuple of int
        Mirror images that a network's prediction is averaged over.
    clues : Clues, optional
        Modified: receives what the stages of the estimates show of their error.
    margin_voxels : int
        Reflected around the image where networks look at it.

    Returns
    -------
    estimates : list of (X, Y, Z) float32 arrays
    """
    smooth = MaskedSmoother(noisy.where, _LOCAL_MEAN_VOXELS)
    estimator = _Estimator(noisy, context, flips, smooth, clues, margin_voxels)
    return [estimator.estimate(candidate) for candidate in candidates]


def estimate_average(
    candidates: Sequence[Candidate],
    prepared: Prepared,
    context: Context,
    flips: tuple[tuple[int, ...], ...] = ((),),
    box: Index = (slice(None),) * 3,
    clues: Clues | None = None,
) -> list[NDArray[np.float32]]:
    """Denoise the weighted average of the repetitions, or a box of it, by every candidate.

    Parameters
    ----------
    flips : tuple of tuple of int
        As for `estimate_all`.
    box : tuple of slice
        All of the volume by default.
    clues : Clues, optional
        As for `estimate_all`.

    Returns
    -------
    estimates : list of (X, Y, Z) float32 arrays
        In z-scores.
    """
    repetition_sd = prepared.repetition_noise_sd[box]
    noise_sd = prepared.average_noise_sd[box]
    average = combine_repetitions(prepared.images[(slice(None), *box)], prepared.weighting.weights)
    find_bias = partial(prepared.bias, noise_sd=repetition_sd)
    noisy = NoisyImage(average, noise_sd, prepared.head[box], find_bias)
    return estimate_all(candidates, noisy, context, flips, clues=clues)


_Key = tuple[int, float, int, int]
"""Network, noise factor, passes of non-local Bayes and the noise that these take."""


@dataclass(frozen=True, slots=True)
class _Estimator:
    noisy: NoisyImage
    context: Context
    flips: tuple[tuple[int, ...], ...]
    smooth: MaskedSmoother
    clues: Clues | None
    margin_voxels: int
    done: dict[_Key, NDArray[np.float32]] = field(default_factory=dict)

    def estimate(self, candidate: Candidate) -> NDArray[np.float32]:
        if candidate.function is not None:
            return candidate.function(self.noisy.image, self.noisy.noise_sd)
        if candidate.network is None:
            return self.noisy.image
        if candidate.fusion is not None:
            found = self._fuse(candidate)
        else:
            found = self._follow(candidate, candidate.nonlocal_passes)
        return self._keep_local_means(found) if candidate.keep_local_means else found

    def _once(self, key: _Key, find: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """What several candidates share."""
        if key not in self.done:
            self.done[key] = find()
            if self.clues is not None:
                self.clues.add_stage(self.done[key])
        return self.done[key]

    def _follow(self, candidate: Candidate, passes: int) -> NDArray[np.float32]:
        """The network's estimate after some passes of non-local Bayes."""
        network, factor = candidate.network, candidate.noise_factor

        def find() -> NDArray[np.float32]:
            if passes:
                return self._nonlocal_bayes(self._follow(candidate, passes - 1), candidate.correlation)
            return self._predict(network, self.noisy.image, self.noisy.noise_sd * np.float32(factor))

        noise = id(candidate.correlation) if passes else 0
        return self._once((id(network), factor, passes, noise), find)

    def _fuse(self, candidate: Candidate) -> NDArray[np.float32]:
        """The last pass, corrected by what the network before it says."""

        def find() -> NDArray[np.float32]:
            network, patches = (self._follow(candidate, passes) for passes in (0, candidate.nonlocal_passes))
            image = self.noisy.image - self.noisy.find_bias(patches)
            fused = self._predict(candidate.fusion, patches, network, image, self.noisy.noise_sd)
            return np.where(self.noisy.where, fused, patches)

        key = (
            id(candidate.fusion),
            candidate.noise_factor,
            candidate.nonlocal_passes,
            id(candidate.correlation),
        )
        return self._once(key, find)

    def _keep_local_means(self, estimate: NDArray[np.float32]) -> NDArray[np.float32]:
        taken_away = self.noisy.image - self.noisy.find_bias(estimate) - estimate
        kept = self.smooth(taken_away.astype(np.float32))
        return np.where(self.noisy.where, estimate + kept, estimate)

    def _nonlocal_bayes(
        self, guide: NDArray[np.float32], correlation: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        image = self.noisy.image - self.noisy.find_bias(guide)
        context = self.context
        settings = BayesSettings(context.device, correlation=correlation, memory_gb=context.memory_gb)
        variance = None if self.clues is None else self.clues.start_posterior(self.noisy.noise_sd)
        return guided_nonlocal_bayes(image, guide, self.noisy.noise_sd, self.noisy.where, settings, variance)

    def _predict(self, network: nn.Module, *volumes: NDArray[np.float32]) -> NDArray[np.float32]:
        device, memory_gb = self.context.device, self.context.memory_gb
        return predict(
            network,
            *volumes,
            device=device,
            memory_gb=memory_gb,
            flips=self.flips,
            margin_voxels=self.margin_voxels,
        )


def combine_repetitions(images: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Sum of (R, X, Y, Z) repetitions with (R,) weights."""
    return np.tensordot(weights.astype(np.float32), images, axes=1)
