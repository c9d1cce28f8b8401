"""Candidates of ``auto`` for micrographs, each a function of one stabilised plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.micrographs.planes import TileEstimate
from n2a_bids.algorithms.nn.networks import receptive_radius
from n2a_bids.algorithms.nn.planar_inference import predict_plane
from n2a_bids.algorithms.risk.candidates import Candidate

Image = NDArray[np.float32]

_LOCAL_MEAN_PIXELS = 6.0
"""SD of the Gaussian over which estimates keep the mean of the data; 5 % of white noise reaches that."""
_TRUNCATE = 3.0


@dataclass(frozen=True, slots=True)
class PlaneCandidate:
    """A function of the mean of the exposures."""

    name: str
    network: nn.Module | None = None
    """None for the mean itself."""
    noise_factor: float = 1.0
    """Factor on the noise level that the network is told."""
    keep_local_means: bool = False
    """Give back what was taken away where it is smooth."""


@dataclass(slots=True)
class PlaneEstimator:
    """Estimates of candidates; what several share of one image is computed once."""

    context: Context
    flips: tuple[tuple[int, ...], ...] = ((),)
    image: Image | None = None
    """The last one, by which what was computed is known."""
    done: dict[tuple[int, float], Image] = field(default_factory=dict)
    volume: NDArray[np.float32] | None = None
    """The last one that the comparison asked for, and"""
    plane: Image | None = None
    """its only plane."""

    def estimate(self, candidate: PlaneCandidate, image: Image, noise_sd: Image | float) -> Image:
        """Denoise a stabilised (X, Y) image whose noise SD is given, for all pixels or for each."""
        if candidate.network is None:
            return image
        if image is not self.image:
            self.image, self.done = image, {}
        key = (id(candidate.network), candidate.noise_factor)
        if key not in self.done:
            level = np.asarray(noise_sd * candidate.noise_factor, np.float32)
            self.done[key] = predict_plane(
                candidate.network, image, level, device=self.context.device, flips=self.flips
            )
        found = self.done[key]
        if not candidate.keep_local_means:
            return found
        return found + ndimage.gaussian_filter(image - found, _LOCAL_MEAN_PIXELS, truncate=_TRUNCATE)

    def as_candidate(self, candidate: PlaneCandidate) -> Candidate:
        """The same as the comparison takes it: a function of a volume of one plane."""
        if candidate.network is None:
            return Candidate(candidate.name)

        def of_volume(volume: NDArray[np.float32], noise_sd: NDArray[np.float32]) -> NDArray[np.float32]:
            if volume is not self.volume:
                # One view for all candidates, so that the image is known again.
                self.volume, self.plane = volume, volume[0]
            return self.estimate(candidate, self.plane, float(noise_sd.flat[0]))[None]

        return Candidate(candidate.name, function=of_volume)

    def blend(
        self, candidates: Sequence[PlaneCandidate], weights: NDArray[np.float64], noise_sd: float
    ) -> TileEstimate:
        """A weighted mean of candidates as an estimate of tiles, whose noise SD is given."""
        used = [(candidate, np.float32(w)) for candidate, w in zip(candidates, weights) if w > 0]

        def estimate(tile: Image, noise_factor: Image | float = 1.0) -> Image:
            total = np.zeros_like(tile)
            for candidate, weight in used:
                total += weight * self.estimate(candidate, tile, noise_factor * noise_sd)
            self.image, self.done = None, {}
            return total

        return TileEstimate(estimate, max(_reach(candidate) for candidate, _ in used))


def _reach(candidate: PlaneCandidate) -> int:
    """How far a pixel of the estimate looks."""
    if candidate.network is None:
        return 0
    smoothing = int(np.ceil(_TRUNCATE * _LOCAL_MEAN_PIXELS)) if candidate.keep_local_means else 0
    return receptive_radius(candidate.network) + smoothing
