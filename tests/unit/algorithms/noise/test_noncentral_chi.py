"""Floors of several coils: the law, the number of coils, and what is taken out of images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.noise.noncentral_chi import chi_bias, coils_of_air, coils_of_brain
from n2a_bids.algorithms.noise.rician import noise_sd_of_moments, rician_bias
from n2a_bids.algorithms.preparation.noise_floor import find_series_coils
from n2a_bids.algorithms.preparation.repetitions import prepare
from n2a_bids.algorithms.repetitions import Repetitions


def sum_of_squares(
    signal: np.ndarray, n_coils: int, correlation: float, seed: int, n_draws: int = 1
) -> np.ndarray:
    """Magnitudes of coils that see different parts of the signal; noise of SD 1 in each part of each coil."""
    generator = np.random.default_rng(seed)
    share = np.sqrt(correlation)
    x = np.linspace(0, 2 * np.pi, signal.shape[0], endpoint=False).reshape(-1, *([1] * (signal.ndim - 1)))
    seen = [1 + 0.9 * np.cos(x - 2 * np.pi * coil / n_coils) for coil in range(n_coils)]
    size = np.sqrt(sum(one**2 for one in seen))
    shape = (n_draws, *signal.shape)
    common = [generator.standard_normal(shape) for _ in range(2)]
    total = np.zeros(shape)
    for one in seen:
        own = [np.sqrt(1 - correlation) * generator.standard_normal(shape) + share * part for part in common]
        total += (signal * one / size + own[0]) ** 2 + own[1] ** 2
    return np.sqrt(total)


@pytest.mark.parametrize("n_coils", [1, 4, 8, 32])
def test_the_law_is_that_of_sampled_coils(n_coils):
    """Mean magnitudes at any signal, to 1 % of the noise; one coil is Rician to the bit."""
    signal = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 40.0])
    sampled = sum_of_squares(signal, n_coils, 0.0, seed=1, n_draws=40_000).mean(axis=0)
    assert np.allclose(signal + chi_bias(signal, 1.0, n_coils), sampled, atol=0.02)
    assert np.array_equal(chi_bias(signal, 2.0, 1), rician_bias(signal, 2.0))
    air = sum_of_squares(np.zeros(1), n_coils, 0.0, seed=2, n_draws=100_000)
    assert coils_of_air(air.mean(), air.std()) == pytest.approx(n_coils, rel=0.03)
    assert coils_of_brain(air.mean(), air.std(), 1.0) == pytest.approx(n_coils, rel=0.02)


SHAPE = (48, 48, 32)


def head() -> tuple[np.ndarray, np.ndarray]:
    """A brain of intensities 6 to 24 in air, noise SD 1, and its mask."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.45
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 2)
    return np.where(mask, np.clip(15 + 5 * texture / texture.std(), 6, 24), 0), mask


@pytest.mark.parametrize(
    ("n_coils", "correlation"),
    [(1, 0.0), (4, 0.0), (8, 0.0), (32, 0.0), (4, 0.1), (8, 0.1), (8, 0.3), (32, 0.1)],
)
def test_the_floor_of_repetitions_is_found_and_known_to_a_tenth(n_coils, correlation):
    """Bias of the mean of two in the brain, known from the simulation; coils correlated or not."""
    signal, mask = head()
    images = np.stack([sum_of_squares(signal, n_coils, correlation, seed)[0] for seed in (1, 2)])
    prepared = prepare(Repetitions(images[..., None].astype(np.float32), mask))
    assert prepared.magnitude is not None
    scale = prepared.scales[0]
    bias = prepared.bias(scale.apply(signal.astype(np.float32)), prepared.repetition_noise_sd)
    inside = ndimage.binary_erosion(mask, iterations=2)
    known = np.mean([sum_of_squares(signal, n_coils, correlation, seed)[0] for seed in range(10, 30)], axis=0)
    known = (known - signal)[inside].mean()
    assert bias[inside].mean() * scale.gain == pytest.approx(known, rel=0.1)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("n_coils", [1, 2, 8])
def test_the_coils_of_a_series_are_told_by_its_air(n_coils, turned):
    """Signal below the floor, also where interpolation left two thirds of the noise; one coil is none."""
    signal, mask = head()
    shown = np.stack([sum_of_squares(signal / 10, n_coils, 0.0, seed)[0] for seed in range(8)], axis=-1)
    inside, kept = shown[mask], 1.0
    told = noise_sd_of_moments(np.median(inside), inside.var(axis=1, ddof=1).mean())
    if turned:
        # Half a voxel along two axes leaves half of the variance of each, and the mean of the air.
        shown = ndimage.shift(shown, (0.5, 0.5, 0, 0), order=1, mode="nearest")
        kept = 0.5
    floor = find_series_coils(shown[None].astype(np.float32), mask, told, kept)
    if n_coils == 1:
        assert floor.magnitude is None and not floor.left
        return
    assert floor.magnitude.n_coils == pytest.approx(n_coils, rel=0.1)
    assert floor.magnitude.air_noise_sd == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("moved_voxels", [0.8, 1.2, 2.0])
def test_the_coils_are_told_where_volumes_moved_out_of_view(moved_voxels):
    """One volume each along another axis: what it did not see is 0, so that the mean is darker there."""
    signal, mask = head()
    shown = np.stack([sum_of_squares(signal / 10, 4, 0.0, seed)[0] for seed in range(6)])
    inside = np.moveaxis(shown, 0, -1)[mask]
    told = noise_sd_of_moments(np.median(inside), inside.var(axis=1, ddof=1).mean())
    for index, shift in enumerate(moved_voxels * np.vstack([np.eye(3), -np.eye(3)])):
        shown[index] = ndimage.shift(shown[index], shift, order=1, mode="nearest")
        shown[index][ndimage.shift(np.ones(SHAPE), shift, order=1, mode="grid-constant") < 0.5] = 0
    series = np.moveaxis(shown, 0, -1)[None].astype(np.float32)
    # Between two voxels a part of the noise is lost.
    part = moved_voxels % 1
    floor = find_series_coils(series, mask, told, float(np.hypot(part, 1 - part)))
    assert floor.magnitude.n_coils == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("kind", ["magnitude", "real part", "offset", "texture"])
def test_a_rician_floor_is_found_under_uneven_noise(kind):
    """Noise that falls by five across the image, as after parallel imaging; no other air is taken for it."""
    signal, mask = head()
    noise_sd = np.geomspace(2.2, 0.45, SHAPE[0])[:, None, None] * np.ones(SHAPE)
    generator = np.random.default_rng(4)
    real, imaginary = noise_sd * generator.standard_normal((2, 2, *SHAPE))
    anatomy = np.abs(generator.standard_normal(SHAPE)) * ~mask * 2
    images = {
        "magnitude": np.hypot(signal + real, imaginary),
        "real part": signal + real,
        "offset": signal + 8 + real,
        "texture": signal + anatomy + real,
    }[kind]
    prepared = prepare(Repetitions(images[..., None].astype(np.float32), mask))
    if kind != "magnitude":
        assert prepared.magnitude is None
        return
    scale, inside = prepared.scales[0], ndimage.binary_erosion(mask, iterations=2)
    bias = prepared.bias(scale.apply(signal.astype(np.float32)), prepared.repetition_noise_sd)[inside]
    known = rician_bias(signal, noise_sd)[inside]
    assert bias.mean() * scale.gain == pytest.approx(known.mean(), rel=0.1)


@pytest.mark.parametrize("kind", ["padded", "stripped"])
def test_places_of_zero_tell_nothing_of_uneven_noise(kind):
    """Around what was measured, or around the brain: nothing is divided by noise where there is none."""
    signal, mask = head()
    noise_sd = np.geomspace(1.7, 0.6, SHAPE[0])[:, None, None]
    real, imaginary = noise_sd * np.random.default_rng(4).standard_normal((2, 2, *SHAPE))
    images = np.hypot(signal + real, imaginary) * (mask if kind == "stripped" else 1)
    zeros = [(0, 0), (0, 0), (40, 40)]
    images, mask = np.pad(images, [(0, 0), *zeros]).astype(np.float32), np.pad(mask, zeros)
    with np.errstate(divide="raise", invalid="raise"):
        prepared = prepare(Repetitions(images[..., None], mask))
    assert (prepared.magnitude is None) == (kind == "stripped")


def test_other_air_is_left():
    """Gaussian noise about an offset is no magnitude of many coils; nor is air that was darkened."""
    signal, mask = head()
    generator = np.random.default_rng(3)
    shifted = signal + 8 + generator.standard_normal((2, *SHAPE))
    assert prepare(Repetitions(shifted[..., None].astype(np.float32), mask)).magnitude is None
    images = np.stack([sum_of_squares(signal, 8, 0.0, seed)[0] for seed in (1, 2)])
    images = np.where(mask, images, 0.3 * images)
    assert prepare(Repetitions(images[..., None].astype(np.float32), mask)).magnitude is None
