"""Pretrained weights, as strategies receive them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from n2a_bids.algorithms.network import MUNet, ResidualUNet


@dataclass(frozen=True, slots=True)
class PretrainedWeights:
    """A network's weights with their origin."""

    name: str
    """``resunet-t1w`` or ``munet-t1w``."""
    sha256: str
    tensors: dict[str, Tensor]


def build_network(name: str, weights: PretrainedWeights | None) -> nn.Module:
    """Make a network, pretrained where weights are given.

    Parameters
    ----------
    name : str
        ``resunet-t1w`` or ``munet-t1w``.
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
    if name == "resunet-t1w":
        network: nn.Module = ResidualUNet()
    elif name == "munet-t1w":
        network = MUNet()
    else:
        raise ValueError(f"unknown network {name!r}")
    if weights is not None:
        try:
            network.load_state_dict({key: value.float() for key, value in weights.tensors.items()})
        except RuntimeError as error:
            raise ValueError(f"weights {weights.name!r} do not fit the network {name!r}: {error}") from error
    return network.eval()
