"""Network architectures for diffusion series, whose volumes are channels: MU-Net and the one of SAN2N."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_ROWS = 65536
"""Voxels summed at once in double precision."""


class DiffusionMUNet(nn.Module):
    """The 10-layer U-Net without pooling of Noise2Average, for diffusion series.

    Three encoder blocks of two 3x3x3 convolutions, two decoder blocks that also
    see the first and the second encoder block, batch normalisation on every
    convolution but the first, and a linear convolution to the residual. The
    last two hidden convolutions are narrower by 2 and by 4, as in the authors'
    start code.

    Departure from the paper: a linear map of each voxel's volumes is added. Noise
    is independent in all volumes, and so many numbers do not pass through the
    narrow end of the network: without the map, Noise2Noise on 33 volumes left the
    series as it was.

    Parameters
    ----------
    n_volumes : int
        Channels in and out.
    width : int
        Channels within: 64 in the start code, 192 in the paper's figure.
    """

    def __init__(self, n_volumes: int, width: int = 64):
        super().__init__()
        self.encoder = nn.ModuleList(
            (
                nn.Sequential(_convolution(n_volumes, width, normalised=False), _convolution(width, width)),
                nn.Sequential(_convolution(width, width), _convolution(width, width)),
                nn.Sequential(_convolution(width, width), _convolution(width, width)),
            )
        )
        self.decoder = nn.ModuleList(
            (
                nn.Sequential(_convolution(2 * width, width), _convolution(width, width)),
                nn.Sequential(_convolution(2 * width, width // 2), _convolution(width // 2, width // 4)),
            )
        )
        self.tail = nn.Conv3d(width // 4, n_volumes, kernel_size=3, padding=1)
        self.linear = nn.Conv3d(n_volumes, n_volumes, kernel_size=1, bias=False)
        # The start is the identity: an untrained network leaves the series as it is.
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)
        nn.init.zeros_(self.linear.weight)

    def forward(self, series: Tensor, noise_sd: Tensor | None = None) -> Tensor:
        """Predict the residual.

        Parameters
        ----------
        series : (N, C, X, Y, Z) tensor
            Noisy series in z-scores of each volume.
        noise_sd : tensor or None
            Not used; all networks are called alike.

        Returns
        -------
        residual : (N, C, X, Y, Z) tensor
        """
        first = self.encoder[0](series)
        second = self.encoder[1](first)
        third = self.encoder[2](second)
        fourth = self.decoder[0](torch.cat((first, third), dim=1))
        return self.tail(self.decoder[1](torch.cat((second, fourth), dim=1))) + self.linear(series)


RECEPTIVE_RADIUS = 11
"""Voxels to each side that reach an output voxel of `DiffusionMUNet`: one for each convolution."""


def _convolution(n_in: int, n_out: int, *, normalised: bool = True) -> nn.Sequential:
    layer = nn.Conv3d(n_in, n_out, kernel_size=3, padding=1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    parts = [layer, nn.BatchNorm3d(n_out), nn.ReLU()] if normalised else [layer, nn.ReLU()]
    return nn.Sequential(*parts)


class SpatioAngularNet(nn.Module):
    """The network of SAN2N: two convolutions of 64 channels, and one of size 1 back to the volumes.

    Departure from the paper: a linear map of each voxel's volumes is added, the identity at
    first. Set to the map of least squared error, it is a good start: 400 steps do better than
    1200 without it (``docs/benchmarks/diffusion.md``).
    """

    def __init__(self, n_volumes: int, width: int = 64):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(n_volumes, width, kernel_size=3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv3d(width, width, kernel_size=3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv3d(width, n_volumes, kernel_size=1),
        )
        self.linear = nn.Conv3d(n_volumes, n_volumes, kernel_size=1, bias=False)
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)
        nn.init.dirac_(self.linear.weight)

    def forward(self, series: Tensor) -> Tensor:
        """Map a noisy (N, C, X, Y, Z) series to a denoised one."""
        return self.layers(series) + self.linear(series)


@torch.no_grad()
def set_linear_map(
    linear: nn.Conv3d, pairs: Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]]
) -> None:
    """Set a convolution of size 1 to the linear map of least squared error.

    Parameters
    ----------
    linear : nn.Conv3d
        Modified, unless there is not a single voxel.
    pairs : iterable of two (N, C) arrays
        Volumes of N voxels, and what they are to be mapped to; taken one after the other, so
        that only one pair need be in memory. Noise of the targets that is independent of the
        volumes does not matter: it has no linear relation to them.
    """
    n_volumes = linear.in_channels
    within, across = np.zeros((2, n_volumes, n_volumes))
    for volumes, targets in pairs:
        for part in range(0, len(volumes), _ROWS):
            inputs = volumes[part : part + _ROWS].astype(np.float64)
            within += inputs.T @ inputs
            across += inputs.T @ targets[part : part + _ROWS]
    if not within.any():
        return
    solution = np.linalg.lstsq(within, across, rcond=1e-8)[0]
    linear.weight.copy_(torch.from_numpy(solution.T)[:, :, None, None, None])
