"""``n2a-tools doctor``: expected seconds of ``auto`` on a T1w image on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from n2a_bids.algorithms.nn.rates import Rates
from n2a_bids.algorithms.strategies.anat.auto_candidates import AutoConfig

_HEAD = 0.45
"""Part of a whole-head image where there is signal: non-local Bayes works there."""

_HELD_OUT = 0.12 * (48 / 32) ** 3
"""Of the brain, with the context that is read around every cube."""

_REST_S_PER_VOXEL = 6e-6
"""Noise, its correlation, measures, files: of one thread, whatever there are. A whole run of 9.2 million
voxels took 140 s of a processor where the other parts were to take 83 s."""


@dataclass(frozen=True, slots=True)
class ImageSize:
    """What the time depends on."""

    n_voxels: int
    """Of the whole image."""
    n_brain_voxels: int


TYPICAL_HEAD = ImageSize(160 * 224 * 256, 1_480_000)
"""A T1w image of 1 mm."""


def expected_seconds(size: ImageSize, config: AutoConfig, rates: Rates) -> dict[str, float]:
    """Seconds that the parts of ``auto`` will take for repetitions of one contrast.

    Parameters
    ----------
    config : AutoConfig
        Of a recipe with pretrained weights.
    rates : Rates
        Measured on this machine with the threads that denoising will have.

    Returns
    -------
    seconds : dict
        Of ``fit``, ``risk``, ``predict`` and the ``rest``.
    """
    schedule, block = config.recorrupted.schedule, config.recorrupted.block_edge
    trained = schedule.n_epochs * schedule.steps_per_epoch * config.recorrupted.batch_size * block**3
    passes, n_flips = max(config.nonlocal_passes), config.n_flips
    held_out = _HELD_OUT * size.n_brain_voxels
    network, fusion, filtered = 1 / rates.prediction, 1 / rates.fusion, 1 / rates.nonlocal_bayes
    follows = fusion if config.fusion else 0.0
    # Levels once; then, twice, the level, its neighbours, and the trained network with what follows it.
    n_again = 4 if config.trains else 1
    compared = len(config.noise_factors) * network + 2 * (n_again * network + passes * filtered + follows)
    return {
        "fit": trained / rates.training,
        "risk": held_out * compared,
        "predict": size.n_voxels * (n_flips * (network + follows) + passes * filtered * _HEAD),
        "rest": size.n_voxels * _REST_S_PER_VOXEL,
    }
