"""Networks of ``benchmark --noise2noise``: blind U-Net, and one that keeps measured k-space."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from n2a_bids.algorithms.nn.networks import ResidualUNet


class BlindUNet(ResidualUNet):
    """The residual U-Net in 2D without a map of the noise level, for one or three channels."""

    def __init__(self, n_channels: int, width: int):
        super().__init__((width, 2 * width, 4 * width), n_volumes=n_channels, n_axes=2)
        self.tail = nn.Conv2d(width, n_channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.tail.weight)

    def forward(self, image: Tensor) -> Tensor:
        """Predict the residual of (N, C, X, Y) images; X and Y are multiples of ``stride``."""
        return self._residual(image)


class ConsistentUNet(nn.Module):
    """The same for slices, after which the samples that were measured replace those of the estimate."""

    def __init__(self, width: int):
        super().__init__()
        self.inner = BlindUNet(1, width)

    def forward(self, image: Tensor, samples: Tensor, drawn: Tensor) -> Tensor:
        """Predict the residual of (N, 1, E, E) images.

        Parameters
        ----------
        image : (N, 1, E, E) tensor
        samples : (N, 2, E, E) tensor
            Real and imaginary parts, as measured.
        drawn : (N, 1, E, E) tensor
            1 where there is a sample.
        """
        estimate = (image + self.inner(image)).float()
        known = torch.complex(samples[:, :1].float(), samples[:, 1:].float())
        spectrum = torch.where(drawn > 0, known, torch.fft.fft2(estimate))
        return torch.fft.ifft2(spectrum).real - image
