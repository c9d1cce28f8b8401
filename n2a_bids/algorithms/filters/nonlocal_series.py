"""Non-local Bayes filter for diffusion series: patches of their strongest principal components."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from n2a_bids.algorithms.filters.learned import Series, principal_basis
from n2a_bids.algorithms.filters.nonlocal_bayes import BayesSettings, guided_nonlocal_bayes
from n2a_bids.algorithms.filters.patch_search import PatchSearch
from n2a_bids.algorithms.noise.covariance import NoiseCovariance

_SEARCH = PatchSearch(edge=2, stride=2, radius=3)

_N_COMPONENTS = 16
"""Components that take part; in the weaker ones noise hides what patches have in common."""

_N_PASSES = 2


def refine_by_nonlocal_bayes(
    noisy: Series,
    guide: Series,
    noise_sd: NDArray[np.float32],
    mask: NDArray[np.bool_],
    *,
    covariance: NoiseCovariance | None = None,
    device: torch.device,
    memory_gb: float = 6.0,
    variance: Series | None = None,
) -> Series:
    """Denoise a series anew, with an earlier result as the guide.

    Patches of 2x2x2 voxels are grouped with those that look alike in the strongest principal
    components, so that a fibre bundle is compared with bundles of its own direction, and sharp
    borders with borders. What the guide lost of the angular contrast comes back from the noisy
    series. The result guides a second pass.

    Parameters
    ----------
    noisy : (X, Y, Z, C) array
        Noisy series.
    guide : (X, Y, Z, C) array
        Denoised series in the same unit.
    noise_sd : (X, Y, Z) array
        Noise SD of `noisy`, the same in all volumes, positive.
    mask : (X, Y, Z) bool array
        Voxels to denoise.
    covariance : NoiseCovariance, optional
        Of the noise of neighbours; white noise by default.
    memory_gb : float
        See `BayesSettings`.
    variance : (X, Y, Z, C) array, optional
        Modified: filled with the posterior variance, of the strongest components alone.

    Returns
    -------
    denoised : (X, Y, Z, C) float32 array
        `guide` outside the mask.
    """
    basis = principal_basis(guide, mask)[:, :_N_COMPONENTS]
    unit = noise_sd[..., None]
    noisy_parts, parts = ((series / unit) @ basis for series in (noisy, guide))
    weak = guide / unit - parts @ basis.T
    posterior = None if variance is None else np.ones_like(parts)
    correlation = None if covariance is None else covariance.patch_correlation(_SEARCH.edge)
    settings = BayesSettings(device, _SEARCH, correlation, memory_gb)
    for _ in range(_N_PASSES):
        parts = guided_nonlocal_bayes(
            noisy_parts,
            parts,
            np.ones(mask.shape, np.float32),
            mask,
            settings,
            posterior,
        )
    if variance is not None:
        variance[...] = (posterior @ np.square(basis.T)) * unit**2
    return np.where(mask[..., None], (parts @ basis.T + weak) * unit, guide).astype(np.float32)
