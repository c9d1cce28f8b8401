"""Loss functions of SAN2N (Spatio-Angular Noise2Noise): subsampled voxels and neighbouring directions.

Jiang, Chen et al., "Spatio-angular noise2noise", ISBI 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_EDGES = tuple((a, b) for a in range(8) for b in range(8) if (a ^ b) in (1, 2, 4))
"""Ordered pairs of corners of a 2x2x2 cell that share an edge."""

_CONSISTENCY, _ANGULAR, _LIKELIHOOD = 10.0, 1.0, 1e-5


@dataclass(frozen=True, slots=True)
class SubSampler:
    """Two adjacent voxels of every 2x2x2 cell, drawn at random."""

    first: Tensor
    """(cells,) corner of each cell that goes into the first image."""
    second: Tensor

    @classmethod
    def draw(cls, shape: tuple[int, int, int], generator: torch.Generator) -> SubSampler:
        """Draw two adjacent voxels of every cell, for blocks of this even shape."""
        n_cells = shape[0] * shape[1] * shape[2] // 8
        pairs = torch.tensor(_EDGES)
        chosen = pairs[torch.randint(len(pairs), (n_cells,), generator=generator)]
        return cls(chosen[:, 0], chosen[:, 1])

    def __call__(self, blocks: Tensor, corners: Tensor) -> Tensor:
        """(N, C, X, Y, Z) to half the size along each axis, taking one corner of each cell."""
        n, c, x, y, z = blocks.shape
        cells = blocks.reshape(n, c, x // 2, 2, y // 2, 2, z // 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
        flat = cells.reshape(n, c, -1, 8)
        index = corners.to(blocks.device)[None, None, :, None].expand(n, c, -1, 1)
        return flat.gather(-1, index).reshape(n, c, x // 2, y // 2, z // 2)


def san2n_loss(
    network: nn.Module,
    blocks: Tensor,
    neighbours: Tensor,
    noise_sd: Tensor,
    progress: float,
    generator: torch.Generator,
) -> Tensor:
    """Loss of a batch of blocks.

    Departure from the paper: a volume without a neighbour within reach is not
    paired with itself in the angular terms, which would teach the identity.

    Parameters
    ----------
    network : nn.Module
        Maps a noisy series to a denoised one.
    blocks : (N, C, X, Y, Z) tensor
        Noisy magnitudes with even X, Y, Z, in a unit of about 1.
    neighbours : (C,) int tensor
        Nearest volume in q-space, or the volume itself.
    noise_sd : (C,) tensor
        Of each volume, in the same unit.
    progress : float
        0 at the start of training, 1 at its end: ramps the consistency terms.

    Returns
    -------
    loss : scalar tensor
    """
    sampler = SubSampler.draw(tuple(blocks.shape[2:]), generator)
    first, second = sampler(blocks, sampler.first), sampler(blocks, sampler.second)
    estimate = network(first)
    with torch.no_grad():
        whole = network(blocks)
        whole_first, whole_second = sampler(whole, sampler.first), sampler(whole, sampler.second)
    difference = estimate - second
    loss = difference.square().mean()
    loss = loss + _CONSISTENCY * progress * (difference - (whole_first - whole_second)).square().mean()
    paired = neighbours != torch.arange(len(neighbours), device=neighbours.device)
    if paired.any():
        other = first[:, neighbours]
        edges = _edge_weight(whole_first) * paired[None, :, None, None, None]
        difference = estimate - other
        consistent = difference - (whole_first - whole_first[:, neighbours])
        loss = loss + _ANGULAR * progress * (
            (edges * difference.square()).mean() + (edges * consistent.square()).mean()
        )
    return loss + _LIKELIHOOD * rician_nll(second, estimate, noise_sd[None, :, None, None, None])


def rician_nll(magnitude: Tensor, signal: Tensor, noise_sd: Tensor) -> Tensor:
    """Mean negative log-likelihood of magnitudes, without the terms that `signal` does not change.

    Parameters
    ----------
    magnitude, signal : tensors of one shape
    noise_sd : tensor that broadcasts to them
    """
    variance = noise_sd.square().clamp(min=1e-12)
    signal = signal.clamp(min=0)
    ratio = magnitude * signal / variance
    # log I0(x) = x + log i0e(x), and (m^2 + a^2) / 2s^2 - m a / s^2 = (m - a)^2 / 2s^2.
    return ((magnitude - signal).square() / (2 * variance) - torch.log(torch.special.i0e(ratio))).mean()


def _edge_weight(images: Tensor) -> Tensor:
    """Softmax over space of the gradient magnitude, with mean 1; (N, C, X, Y, Z)."""
    slopes = []
    for dim in (2, 3, 4):
        forward = torch.diff(images, dim=dim)
        pad = [0, 0] * (4 - dim) + [0, 1]
        slopes.append(functional.pad(forward, pad).square())
    magnitude = sum(slopes).sqrt().flatten(2)
    return (torch.softmax(magnitude, dim=-1) * magnitude.shape[-1]).reshape(images.shape)
