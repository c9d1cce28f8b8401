"""`PretrainedWeights` in memory: check that they fit, and build the network on its device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from n2a_bids.algorithms.nn.networks import BrainUNet, FusionUNet, ImageUNet, MUNet, ResidualUNet
from n2a_bids.errors import ConfigError

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resunet-t1w": ResidualUNet,
    "munet-t1w": MUNet,
    "fusion-t1w": FusionUNet,
    "resunet-2d": ImageUNet,
    "brain-mask": BrainUNet,
}
"""Name of the weights -> network that they are for."""


@dataclass(frozen=True, slots=True)
class PretrainedWeights:
    """A network's weights with their origin."""

    name: str
    """A name of `NETWORKS`."""
    sha256: str
    tensors: dict[str, Tensor]


def check_zero_shot(recipe: str, weights: PretrainedWeights | None) -> None:
    """Raise ConfigError where nothing is pretrained and a recipe trains nothing."""
    if recipe == "zero-shot" and weights is None:
        raise ConfigError(
            "--recipe zero-shot: expected pretrained weights, found none; give their folder by "
            "--weights-dir, or take another recipe"
        )


def build_network(name: str, weights: PretrainedWeights | None) -> nn.Module:
    """Make a network, pretrained where weights are given.

    Parameters
    ----------
    name : str
        A name of `NETWORKS`.
    weights : PretrainedWeights or None
        ``None`` leaves the random initialisation (from the global torch
        generator, which the caller has seeded).

    Returns
    -------
    network : nn.Module
        In eval mode, float32.

    Raises
    ------
    ValueError
        If the name is unknown, or the weights do not fit the network.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}")
    network = NETWORKS[name]()
    if weights is not None:
        _fill(network, weights, name)
    return network.eval()


def check_fit(weights: PretrainedWeights) -> None:
    """Refuse weights that are not those of the network whose name they bear; other names are not judged.

    Raises
    ------
    ValueError
        If a tensor is missing, of another size, or unknown to the network.
    """
    if weights.name in NETWORKS:
        with torch.device("meta"):  # shapes alone
            network = NETWORKS[weights.name]()
        _fill(network, weights, weights.name, assign=True)


def _fill(network: nn.Module, weights: PretrainedWeights, name: str, *, assign: bool = False) -> None:
    """Put weights into a network called `name`."""
    try:
        tensors = {key: value.float() for key, value in weights.tensors.items()}
        network.load_state_dict(tensors, assign=assign)
    except RuntimeError as error:
        # torch names every tensor, on a line each.
        told = " ".join(str(error).split()).split(". ")[0]
        raise ValueError(
            f"weights {weights.name!r} do not fit the network {name!r}: they are of another network or "
            f"version ({told[:300]}); train them again, or leave them out to use those of the package"
        ) from error


def place_network(name: str, weights: PretrainedWeights | None, device: torch.device) -> nn.Module:
    """A network of `build_network` on a device, in the order of memory that its convolutions want.

    Otherwise every convolution copies its input and its output: three times the time in 2D.
    """
    network = build_network(name, weights)
    n_axes = next(network.parameters()).ndim - 2
    layout = torch.channels_last_3d if n_axes == 3 else torch.channels_last
    return network.to(device, memory_format=layout)
