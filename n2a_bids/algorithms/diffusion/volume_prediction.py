"""Predicts each volume of a diffusion series from all others, by the covariance of signals of tissue.

Volumes differ in contrast with b-value and direction. Signals of tissue vary smoothly with both: over a
population of tensors, from CSF to bundles of fibres in any direction, the volumes of a table have a
covariance, by which each volume is predicted from the others. Nothing is grouped into shells: a table of one
shell, of several, with a b-value of its own for every volume (IVIM), or filling q-space (DSI) is one case.

The idea of predicting volumes by a Gaussian process is that of Andersson and Sotiropoulos, NeuroImage 122
(2015); the covariance here is computed from tensors instead of fitted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.noise.estimate import single_image_noise_sd
from n2a_bids.algorithms.repetitions import spread_channels

_TENSORS = (
    # Share, diffusivity along and across the fibre in 1e-3 mm2/s.
    (0.25, 1.7, 0.2),
    (0.15, 2.2, 0.4),
    (0.15, 1.2, 0.3),
    (0.15, 0.8, 0.8),
    (0.10, 0.5, 0.5),
    (0.12, 3.0, 3.0),
    (0.04, 0.1, 0.1),
    # Blood that flows in capillaries.
    (0.04, 15.0, 15.0),
)
_N_ORIENTATIONS = 300
_FLOOR = 0.1
"""SD of a part that all volumes share, likewise: the noise floor of magnitudes."""
_VOLUMES_FOR_NOISE = 6
_LEFT_BY_SMOOTHING = 0.8
"""Of the noise SD, at most, where volumes are compared."""
NOISE_LIMITS = (0.03, 0.07)
"""Limits of the SD of noise, and of what tensors miss, over the signal without weighting. The more is taken
for noise, the more the contrast of directions is shrunk, which looks like motion: of a still head of tensors
(30 directions, b0 at 32 times the noise, 3.5 x 3.5 x 5 mm) volumes moved by up to 1.2 mm with 0.07, 0.6 mm
with 0.03. With less than there is, weights are so large that the motion of one volume is seen in the others:
volumes of a real series rotated on purpose were found to 0.26 mm with 0.07, 0.23 mm with 0.03, 0.39 mm with
0.02, and six of 24 noisy volumes of b = 3000, 2.8 mm away, not at all with 0.03."""


def signal_covariance(gradients: Gradients) -> NDArray[np.float64]:
    """Second moment of the signals of a population of tensors.

    Parameters
    ----------
    gradients : Gradients
        Table of C volumes; turning all directions together changes next to nothing.

    Returns
    -------
    covariance : (C, C) array
        Unitless: the signal without weighting is 1. Symmetric, without negative eigenvalues.
    """
    fibres = _orientations(_N_ORIENTATIONS)
    b = np.asarray(gradients.bvals, float) / 1000
    cosine2 = (fibres @ np.asarray(gradients.bvecs, float).T) ** 2
    covariance = np.full((b.size, b.size), _FLOOR**2)
    for share, along, across in _TENSORS:
        signals = np.exp(-b * (across + (along - across) * cosine2))
        covariance += share * (signals.T @ signals) / len(fibres)
    return covariance


def predictors(gradients: Gradients, noise: float) -> NDArray[np.float64]:
    """Weights with which the volumes of a table predict each one from the *others*.

    Parameters
    ----------
    gradients : Gradients
        Table of C volumes.
    noise : float
        SD of noise and of what tensors miss, over the signal without weighting.

    Returns
    -------
    weights : (C, C) array
        Row i predicts volume i; its diagonal is zero, so that the noise and the motion of a volume stay out
        of its prediction. A single volume predicts itself.

    Examples
    --------
    >>> pair = Gradients(np.array([0.0, 0.0]), np.zeros((2, 3)))
    >>> predictors(pair, 0.07).round(2)
    array([[0., 1.],
           [1., 0.]])
    """
    n_volumes = gradients.bvals.size
    if n_volumes == 1:
        return np.ones((1, 1))
    # Of a covariance, no transform of space.
    precision = np.linalg.inv(signal_covariance(gradients) + noise**2 * np.eye(n_volumes))
    # The prediction from all others in closed form (Rasmussen and Williams 2006, equation 5.12).
    weights = -precision / np.diag(precision)[:, None]
    np.fill_diagonal(weights, 0.0)
    return weights


def noise_over_signal(data: NDArray[np.float32], gradients: Gradients, mask: NDArray[np.bool_]) -> float:
    """Noise SD over the signal of the lowest b-values, within the limits that predictions were tried with.

    Parameters
    ----------
    data : (X, Y, Z, C) float array
        A diffusion series.
    mask : (X, Y, Z) bool array
        Brain.
    """
    chosen = spread_channels(data.shape[-1], _VOLUMES_FOR_NOISE)
    noise_sd = float(np.median([single_image_noise_sd(data[..., volume], mask) for volume in chosen]))
    lowest = np.flatnonzero(gradients.bvals <= gradients.bvals.min())
    signal = float(np.median(data[..., lowest].mean(axis=-1)[mask]))
    low, high = NOISE_LIMITS
    return float(np.clip(_LEFT_BY_SMOOTHING * noise_sd / signal, low, high)) if signal > 0 else high


def _orientations(n_orientations: int) -> NDArray[np.float64]:
    """(N, 3) unit vectors spread evenly over the half sphere (Fibonacci spiral)."""
    index = np.arange(n_orientations) + 0.5
    height = index / n_orientations
    turn = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - height**2)
    return np.stack((radius * np.cos(turn), radius * np.sin(turn), height), axis=1)
