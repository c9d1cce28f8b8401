"""Network architectures in 2D and 3D: residual U-Net, FusionUNet, and MU-Net of the Noise2Average paper.

Every network maps a block, and what is known of it, to a *residual*: the clean
block is estimated as ``block + network(block, ...)``.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def _convolution(n_in: int, n_out: int, *, bias: bool, n_axes: int = 3) -> nn.Module:
    return _CONVOLUTIONS[n_axes](n_in, n_out, kernel_size=3, padding=1, bias=bias)


class ResidualBlock(nn.Module):
    """Two bias-free convolutions with one ReLU between, added to the input."""

    def __init__(self, n_channels: int, n_axes: int = 3):
        super().__init__()
        self.first = _convolution(n_channels, n_channels, bias=False, n_axes=n_axes)
        self.second = _convolution(n_channels, n_channels, bias=False, n_axes=n_axes)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, X, Y[, Z]) to the same shape."""
        # In place: what a convolution has made is needed by nothing else, also not for its gradient.
        return self.second(self.first(features).relu_()).add_(features)


class ResidualUNet(nn.Module):
    """U-Net of residual blocks, in 3D or 2D, that is told the noise level of every voxel.

    No biases and no normalisation: scaling image and noise level together
    scales the output by the same factor, exactly (Mohan et al., ICLR 2020,
    "Robust and interpretable blind image denoising via bias-free convolutional
    neural networks"). The noise-level map as an input follows FFDNet (Zhang et
    al., IEEE TIP 2018).

    Parameters
    ----------
    widths : tuple of int
        Channels at each level; level ``i`` works at ``2 ** -i`` of the resolution.
    depths : tuple of int
        Residual blocks at each level, on the way down and again on the way up
        (the lowest level has them once).
    n_volumes : int
        Volumes that the network sees.
    n_axes : int
        3 for volumes, 2 for images, whose tensors have no last axis Z.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 128),
        depths: tuple[int, ...] = (1, 3, 4),
        n_volumes: int = 2,
        n_axes: int = 3,
    ):
        super().__init__()
        if len(widths) != len(depths):
            raise ValueError(f"{len(widths)} widths but {len(depths)} depths")
        self.stride = 2 ** (len(widths) - 1)
        self.n_axes = n_axes
        convolution, transposed = _CONVOLUTIONS[n_axes], _TRANSPOSED[n_axes]
        self.head = _convolution(n_volumes, widths[0], bias=False, n_axes=n_axes)
        self.encoder = nn.ModuleList(_blocks(*level, n_axes) for level in zip(widths[:-1], depths[:-1]))
        self.down = nn.ModuleList(
            convolution(fine, coarse, kernel_size=2, stride=2, bias=False)
            for fine, coarse in zip(widths[:-1], widths[1:])
        )
        self.bottom = _blocks(widths[-1], depths[-1], n_axes)
        self.up = nn.ModuleList(
            transposed(coarse, fine, kernel_size=2, stride=2, bias=False)
            for fine, coarse in zip(widths[:-1], widths[1:])
        )
        self.decoder = nn.ModuleList(_blocks(*level, n_axes) for level in zip(widths[:-1], depths[:-1]))
        self.tail = _convolution(widths[0], 1, bias=False, n_axes=n_axes)
        _initialise(self)

    def forward(self, image: Tensor, noise_sd: Tensor) -> Tensor:
        """Predict the residual.

        Parameters
        ----------
        image : (N, 1, X, Y, Z) tensor
            Noisy image in z-scores; X, Y, Z multiples of ``stride``.
        noise_sd : (N, 1, X, Y, Z) tensor
            Noise standard deviation in the unit of `image`.

        Returns
        -------
        residual : (N, 1, X, Y, Z) tensor
            Clean estimate minus `image`.
        """
        return self._residual(self.join(image, noise_sd))

    def join(self, image: Tensor, noise_sd: Tensor) -> Tensor:
        """The (N, 2, X, Y, Z) volumes that the first convolution sees, of what `forward` takes."""
        return torch.cat((image, noise_sd), dim=1)

    def descend(self, features: Tensor, level: int = 0) -> Tensor:
        """Features of a level after all blocks of it and of the levels below.

        Parameters
        ----------
        features : (N, C, X, Y, Z) tensor
            What enters the level.
        level : int
            0 is the finest.

        Returns
        -------
        features : (N, C, X, Y, Z) tensor
        """
        if level == len(self.encoder):
            return self.bottom(features)
        features = self.encoder[level](features)
        below = self.descend(self.down[level](features), level + 1)
        return self.decoder[level](self.up[level](below).add_(features))

    def _residual(self, volumes: Tensor) -> Tensor:
        return self.tail(self.descend(self.head(volumes)))


class FusionUNet(ResidualUNet):
    """Small U-Net that corrects non-local Bayes by what the network before it and the noisy image show.

    Networks know what brains look like, and similar patches what this brain looks
    like; where the two disagree, the noisy image between them tells who is right.
    Scaling all volumes scales the output, and it sees the other volumes as
    differences from the first. Before training it corrects nothing.

    Parameters
    ----------
    widths, depths : tuple of int
        As for `ResidualUNet`.
    """

    def __init__(self, widths: tuple[int, ...] = (24, 48), depths: tuple[int, ...] = (1, 2)):
        super().__init__(widths, depths, n_volumes=4)
        nn.init.zeros_(self.tail.weight)

    def forward(self, patches: Tensor, network: Tensor, image: Tensor, noise_sd: Tensor) -> Tensor:
        """Predict the residual.

        Parameters
        ----------
        patches : (N, 1, X, Y, Z) tensor
            Estimate of non-local Bayes in z-scores.
        network : (N, 1, X, Y, Z) tensor
            Estimate of the network that guided it.
        image : (N, 1, X, Y, Z) tensor
            Noisy image, its Rician bias taken out.
        noise_sd : (N, 1, X, Y, Z) tensor
            Its noise standard deviation.

        Returns
        -------
        residual : (N, 1, X, Y, Z) tensor
            Clean estimate minus `patches`.
        """
        return self._residual(self.join(patches, network, image, noise_sd))

    def join(self, patches: Tensor, network: Tensor, image: Tensor, noise_sd: Tensor) -> Tensor:
        """The (N, 4, X, Y, Z) volumes that the first convolution sees, of what `forward` takes."""
        return torch.cat((patches, network - patches, image - patches, noise_sd), dim=1)


ImageUNet = partial(ResidualUNet, n_axes=2)
"""The residual U-Net of micrographs and other images: 1.74 M parameters."""

BrainUNet = partial(ResidualUNet, widths=(8, 16, 32, 48), depths=(1, 1, 1, 2))
"""Finds brains on a coarse grid, told the field of view in place of the noise level: 0.43 M parameters."""


def _blocks(n_channels: int, depth: int, n_axes: int = 3) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(n_channels, n_axes) for _ in range(depth)))


def _initialise(network: nn.Module) -> None:
    """He-normal everywhere, residual branches damped and the last layer small."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            module.second.weight.data.mul_(0.1)
    network.tail.weight.data.mul_(0.1)


class MUNet(nn.Module):
    """The T1w network of Noise2Average: a U-Net without pooling, 18 layers and an output layer.

    Five encoder blocks of two 3x3x3 convolutions, four decoder blocks on the
    concatenation of an encoder block (4, 3, 2, 1) and the previous block, then
    one linear convolution. Receptive field 39 voxels; 2,327,041 parameters at
    64 channels (Li et al., Imaging Neuroscience 4, 2026).

    Parameters
    ----------
    n_channels : int
        Hidden channels.
    n_images : int
        Images in and residuals out.
    """

    stride = 1

    def __init__(self, n_channels: int = 64, n_images: int = 1):
        super().__init__()
        self.encoder = nn.ModuleList(
            _convolution_pair(n_images if level == 0 else n_channels, n_channels) for level in range(5)
        )
        self.decoder = nn.ModuleList(_convolution_pair(2 * n_channels, n_channels) for _ in range(4))
        self.tail = _convolution(n_channels, n_images, bias=True)
        _initialise(self)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor, noise_sd: Tensor | None = None) -> Tensor:
        """Predict the residual of (N, C, X, Y, Z) images; the noise level is not used."""
        features, skips = image, []
        for block in self.encoder:
            features = block(features)
            skips.append(features)
        for block, skip in zip(self.decoder, reversed(skips[:-1])):
            features = block(torch.cat((skip, features), dim=1))
        return self.tail(features)


def _convolution_pair(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        _convolution(n_in, n_out, bias=True), nn.ReLU(), _convolution(n_out, n_out, bias=True), nn.ReLU()
    )


def receptive_radius(network: nn.Module) -> int:
    """Voxels on each side that an output voxel depends on, rounded up to the network's stride.

    Examples
    --------
    >>> receptive_radius(MUNet(n_channels=2))
    19
    """
    radius, scale = 0, 1
    stages: list[tuple[int, int]] = []
    if isinstance(network, MUNet):
        radius = sum(isinstance(module, nn.Conv3d) for module in network.modules())
    elif isinstance(network, ResidualUNet):
        for blocks in network.encoder:
            stages.append((2 * len(blocks), scale))
            scale *= 2
        lowest = 2 * len(network.bottom) * scale
        # Each level is passed twice; strided layers add less than one coarse voxel.
        radius = 2 + lowest + sum(2 * n * step + step for n, step in stages)
    else:
        raise TypeError(f"no receptive field known for {type(network).__name__}")
    stride = network.stride
    return -(-radius // stride) * stride
