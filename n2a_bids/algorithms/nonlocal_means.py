"""Non-local means that finds similar voxels in an image that is clean already.

After Manjon et al., "Adaptive non-local means denoising of MR images with
spatially varying noise levels" (JMRI 2010) and "New methods for MRI denoising
based on sparseness and self-similarity" (Medical Image Analysis 2012), where the
guide is a prefiltered image and weights compare intensity and local mean, so
that they do not depend on orientation. Here the guide is a network's estimate:
the average over similar voxels of the noisy image brings back what the network
took for noise.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


@torch.no_grad()
def guided_nonlocal_means(
    noisy: NDArray[np.float32],
    guide: NDArray[np.float32],
    noise_sd: NDArray[np.float32],
    *,
    strength: float = 0.35,
    radius: int = 3,
    device: torch.device,
) -> NDArray[np.float32]:
    """Average noisy voxels over those that look alike in a guide.

    Parameters
    ----------
    noisy : (X, Y, Z) float32 array
        Noisy image.
    guide : (X, Y, Z) float32 array
        Denoised image in the same unit.
    noise_sd : (X, Y, Z) float32 array
        Noise SD of `noisy`.
    strength : float
        Guide differences that count as alike, in noise SDs.
    radius : int
        Of the search cube, in voxels.
    device : torch.device

    Returns
    -------
    denoised : (X, Y, Z) float32 array
        No input is modified.
    """
    values, reference, spread = (
        torch.from_numpy(np.ascontiguousarray(a)).to(device)[None, None] for a in (noisy, guide, noise_sd)
    )
    local_mean = F.avg_pool3d(_pad(reference, 1), kernel_size=3, stride=1)
    # Intensity once, local mean three times: the mean is the steadier witness.
    features = torch.cat((reference, local_mean * 3**0.5), dim=1)
    scale = -0.25 / (strength * spread.clamp(min=1e-6)) ** 2
    padded_values, padded_features = _pad(values, radius), _pad(features, radius)
    total, weights = values.clone(), torch.ones_like(values)
    shape = values.shape[2:]
    for offset in product(range(2 * radius + 1), repeat=3):
        if offset == (radius,) * 3:
            continue
        place = (..., *(slice(start, start + size) for start, size in zip(offset, shape)))
        distance = (features - padded_features[place]).square_().sum(dim=1, keepdim=True)
        weight = distance.mul_(scale).exp_()
        total.addcmul_(weight, padded_values[place])
        weights += weight
    return (total / weights)[0, 0].cpu().numpy()


def _pad(image: Tensor, width: int) -> Tensor:
    return F.pad(image, (width,) * 6, mode="replicate")
