"""Simulated repetitions of one truth: Rician or Gaussian noise, motion and gain of each run, all known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.transforms import Affine

_RESAMPLING_ORDER = 5
_NOISE_FIELD_FRACTION = 0.25


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """What happens to the truth."""

    noise_level: float = 0.4
    """Noise SD of one repetition, as a fraction of `noise_unit`."""
    noise_unit: float | None = None
    """Intensity that stands for level 1; the in-mask SD of the truth by default."""
    n_repetitions: int = 2
    noise_model: Literal["rician", "gaussian"] = "rician"
    noise_variation: float = 0.0
    """Noise SD varies smoothly in space by this factor (1: it doubles from best to worst place)."""
    noise_ratio: float = 1.0
    """Noise SD of the last run over that of the first, the others between; their root mean square is the
    noise level."""
    max_rotation_deg: float = 0.0
    """Largest rotation about each axis; the first repetition never moves."""
    max_translation_mm: float = 0.0
    """Largest translation along each axis."""
    shading_ratio: float = 1.0
    """How much brighter coils see the rim of the brain than its middle. That is left in the first run, whose
    noise is the same everywhere, and taken out of the others, as prescan normalisation does."""
    max_gain_change: float = 0.0
    """Gains are drawn between ``1 / (1 + change)`` and ``1 + change``; that of the first is 1."""

    def __post_init__(self) -> None:
        if self.n_repetitions < 1:
            raise ValueError(f"expected at least one repetition, found {self.n_repetitions}")
        if self.noise_level < 0:
            raise ValueError(f"expected a noise level of 0 or more, found {self.noise_level}")
        if self.noise_ratio <= 0:
            raise ValueError(f"expected a ratio of noise SDs above 0, found {self.noise_ratio}")

    @property
    def run_noise(self) -> NDArray[np.float64]:
        """(R,) noise SD of each run over their root mean square.

        Examples
        --------
        >>> SimulationConfig(noise_ratio=2.0).run_noise.round(3).tolist()
        [0.632, 1.265]
        """
        factors = np.geomspace(1, self.noise_ratio, self.n_repetitions)
        return factors / np.sqrt(np.mean(factors**2))


@dataclass(frozen=True, slots=True)
class SimulatedRuns:
    """Noisy runs and all that was done to make them."""

    repetitions: NDArray[np.float32]
    """(R, X, Y, Z) noisy runs, each in its own position and gain."""
    truth: NDArray[np.float32]
    """(X, Y, Z) clean image, in the position, gain and shading of the first run."""
    mask: NDArray[np.bool_]
    """(X, Y, Z) brain mask in the position of the first run."""
    noise_sd: NDArray[np.float32]
    """(X, Y, Z) noise SD before the gain, on the grid of each run; root mean square over runs."""
    gains: NDArray[np.float64]
    """(R,) factor on each run."""
    transforms: NDArray[np.float64]
    """(R, 4, 4) mm to mm (voxel index times voxel size): run r shows at p what the truth has at ``T_r p``."""


def simulate_runs(
    truth: NDArray[np.floating],
    mask: NDArray[np.bool_],
    config: SimulationConfig,
    generator: np.random.Generator,
    voxel_size_mm: Sequence[float] = (1.0, 1.0, 1.0),
    added_signal: NDArray[np.floating] | None = None,
) -> SimulatedRuns:
    """Make repeated noisy runs of one clean image.

    The clean image is moved (quintic spline), then noise is added, then the gain applied: noise
    of raw runs stays white, as a scanner's.

    Parameters
    ----------
    truth : (X, Y, Z) float array
        Clean image.
    mask : (X, Y, Z) bool array
        Brain mask: sets the noise unit.
    config : SimulationConfig
        Noise, number of runs, movement, gains.
    generator : numpy.random.Generator
        The only source of randomness.
    voxel_size_mm : three floats
        Voxel size along the array axes.
    added_signal : (R, X, Y, Z) float array, optional
        Added to the clean image of each run before movement: lesions in some runs only.

    Raises
    ------
    ValueError
        If the grids differ or the mask is empty.
    """
    if truth.shape != mask.shape:
        raise ValueError(f"truth grid {truth.shape} is not the mask grid {mask.shape}")
    if not mask.any():
        raise ValueError("the mask is empty")
    unit = float(np.std(truth[mask])) if config.noise_unit is None else config.noise_unit
    noise_sd = np.full(truth.shape, config.noise_level * unit, dtype=np.float32)
    if config.noise_variation > 0:
        noise_sd *= noise_variation_map(mask, config.noise_variation, generator)
    transforms = _random_transforms(truth.shape, config, generator, voxel_size_mm)
    gains = _random_gains(config, generator)
    coil = coil_shading(mask, config.shading_ratio)
    runs = []
    for index in range(config.n_repetitions):
        clean = np.asarray(truth, dtype=np.float32)
        if added_signal is not None:
            clean = clean + added_signal[index]
        seen = coil * resample(clean, transforms[index], voxel_size_mm)
        own_noise_sd = noise_sd * np.float32(config.run_noise[index])
        noisy = add_noise(seen, own_noise_sd, config.noise_model, generator)
        runs.append(gains[index] * (noisy if index == 0 else noisy / coil))
    return SimulatedRuns(
        repetitions=np.stack(runs).astype(np.float32),
        truth=coil * np.asarray(truth, dtype=np.float32),
        mask=mask,
        noise_sd=noise_sd,
        gains=gains,
        transforms=transforms,
    )


def add_noise(
    clean: NDArray[np.floating],
    noise_sd: float | NDArray[np.floating],
    model: Literal["rician", "gaussian"],
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """Return `clean` with white noise: real Gaussian, or the magnitude of a complex Gaussian (Rician).

    Examples
    --------
    >>> noisy = add_noise(np.zeros((8, 8, 8)), 1.0, "rician", np.random.default_rng(0))
    >>> bool((noisy >= 0).all())
    True
    """
    real = clean + noise_sd * generator.standard_normal(clean.shape, dtype=np.float32)
    if model == "gaussian":
        return real.astype(np.float32)
    imaginary = noise_sd * generator.standard_normal(clean.shape, dtype=np.float32)
    return np.hypot(real, imaginary).astype(np.float32)


def noise_variation_map(
    mask: NDArray[np.bool_], variation: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Smooth factor on the noise SD, as parallel imaging makes it.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
        Where the root mean square of the factor is 1.
    variation : float
        Largest factor over smallest, less one.
    generator : numpy.random.Generator
        Places the hills.

    Returns
    -------
    factor : (X, Y, Z) float32 array
    """
    scale = [size * _NOISE_FIELD_FRACTION for size in mask.shape]
    field = ndimage.gaussian_filter(
        generator.standard_normal(mask.shape, dtype=np.float32), scale, mode="reflect"
    )
    field = (field - field.min()) / np.ptp(field)
    factor = 1 + variation * field
    return (factor / np.sqrt(np.mean(factor[mask] ** 2))).astype(np.float32)


def coil_shading(mask: NDArray[np.bool_], ratio: float) -> NDArray[np.float32]:
    """Brightness of a head as surface coils receive it: it rises with the squared distance from the middle.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
        Brain, in which the geometric mean is 1.
    ratio : float
        Of the brightest percent of the brain to the darkest.

    Returns
    -------
    shading : (X, Y, Z) float32 array
        Ones where `ratio` is 1.

    Examples
    --------
    >>> mask = np.ones((20, 20, 20), bool)
    >>> low, high = np.percentile(coil_shading(mask, 7.0), (1, 99))
    >>> round(float(high / low), 2)
    7.0
    """
    if ratio == 1:
        return np.ones(mask.shape, np.float32)
    places = np.argwhere(mask)
    centre, extent = places.mean(axis=0), np.ptp(places, axis=0) / 2
    axes = [
        ((np.arange(size) - middle) / half) ** 2
        for size, middle, half in zip(mask.shape, centre, extent, strict=True)
    ]
    squares = axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :]
    low, high = np.percentile(squares[mask], (1, 99))
    return np.exp((squares - squares[mask].mean()) * (np.log(ratio) / (high - low))).astype(np.float32)


def rigid_matrix(
    rotation_deg: Sequence[float], translation_mm: Sequence[float], centre_mm: Sequence[float]
) -> NDArray[np.float64]:
    """4x4 matrix: rotation about x, then y, then z through a centre, then translation.

    Examples
    --------
    >>> np.allclose(rigid_matrix((0, 0, 90), (0, 0, 0), (1, 1, 0))[:2, 3], (2, 0))
    True
    """
    rotation = Rotation.from_euler("xyz", rotation_deg, degrees=True).as_matrix()
    return Affine.about(rotation, np.asarray(centre_mm), np.add(centre_mm, translation_mm)).matrix


def resample(
    image: NDArray[np.floating],
    transform: NDArray[np.float64],
    voxel_size_mm: Sequence[float] = (1.0, 1.0, 1.0),
) -> NDArray[np.float32]:
    """Show at p what `image` has at ``transform p`` (mm), by quintic splines; edge values repeat outside.

    The identity returns the image untouched.
    """
    if np.array_equal(transform, np.eye(4)):
        return np.asarray(image, dtype=np.float32)
    scale = np.diag([*map(float, voxel_size_mm), 1.0])
    voxel_to_voxel = Affine(transform).between_voxels(scale, scale)
    return ndimage.affine_transform(
        np.asarray(image, dtype=np.float32), voxel_to_voxel, order=_RESAMPLING_ORDER, mode="nearest"
    )


def _random_transforms(
    shape: Sequence[int],
    config: SimulationConfig,
    generator: np.random.Generator,
    voxel_size_mm: Sequence[float],
) -> NDArray[np.float64]:
    centre = [(length - 1) / 2 * size for length, size in zip(shape, voxel_size_mm, strict=True)]
    transforms = np.tile(np.eye(4), (config.n_repetitions, 1, 1))
    if config.max_rotation_deg == 0 and config.max_translation_mm == 0:
        return transforms
    for index in range(1, config.n_repetitions):
        angles = generator.uniform(-1, 1, 3) * config.max_rotation_deg
        shifts = generator.uniform(-1, 1, 3) * config.max_translation_mm
        transforms[index] = rigid_matrix(angles, shifts, centre)
    return transforms


def _random_gains(config: SimulationConfig, generator: np.random.Generator) -> NDArray[np.float64]:
    gains = np.ones(config.n_repetitions)
    if config.max_gain_change > 0:
        limit = np.log1p(config.max_gain_change)
        gains[1:] = np.exp(generator.uniform(-limit, limit, config.n_repetitions - 1))
    return gains
