"""Several processes that train one network: each learns from other blocks, all take the same steps."""

from __future__ import annotations

import torch
from torch import distributed, nn


def mean_gradients(network: nn.Module) -> None:
    """Replace the gradients of this process by their mean over all processes of the group.

    Parameters
    ----------
    network : nn.Module
        After ``backward``; its gradients are mutated. Nothing happens in a process of its own.
    """
    if not distributed.is_initialized():
        return
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    # One message for all of them.
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
