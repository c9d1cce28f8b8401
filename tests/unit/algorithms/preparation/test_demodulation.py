"""Real parts of complex images: without a floor, with Gaussian noise, whatever smooth phase there was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from phases import add_complex_noise, shot_phase, static_phase
from scipy.stats import norm

from n2a_bids.algorithms.preparation.demodulation import (
    WIDTHS_VOXELS,
    choose_low_pass,
    choose_width,
    demodulate,
    linear_phase,
    out_of_phase,
)

SHAPE, SLICES = (64, 60, 6), (0, 1)


def noisy(signal: float, seed: int = 0, steepness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A flat signal under noise of SD 1, with the phase of a field and of shots; the image and that phase."""
    generator = torch.Generator().manual_seed(seed)
    phase = static_phase(SHAPE, generator, smooth_rad=1.0, cavity_rad=2.0 * steepness)
    phase = phase + shot_phase(SHAPE, generator)
    return add_complex_noise(np.full(SHAPE, signal), phase, 1.0, generator), phase


@pytest.mark.parametrize("signal", [0.0, 0.5, 1.0, 3.0])
def test_the_real_part_has_no_floor(signal):
    """Known bias of magnitudes (1.25 SD without signal) is gone to 5 % of the SD; the noise is whole."""
    image, _ = noisy(signal)
    real = demodulate(image, SLICES, 2.5).real
    assert np.abs(image).mean() - signal > 0.16
    assert real.mean() == pytest.approx(signal, abs=0.05)
    assert real.std() == pytest.approx(1.0, abs=0.03)
    assert (real < 0).mean() == pytest.approx(norm.cdf(-signal), abs=0.03)


def test_noise_averages_out_in_the_real_part_alone():
    """The mean of 25 repetitions at a signal of half the noise: magnitudes keep their floor."""
    images = [noisy(0.5, seed)[0] for seed in range(25)]
    real = np.mean([demodulate(image, SLICES, 2.5).real for image in images], axis=0)
    assert np.mean(real) == pytest.approx(0.5, abs=0.05)
    assert np.std(real) == pytest.approx(0.2, abs=0.03)
    assert np.mean(np.abs(images)) > 1.3


def test_a_ramp_of_many_turns_is_found_in_every_slice():
    """Motion during the weighting moves the centre of k-space: no low-pass would leave any of that signal."""
    x = np.arange(SHAPE[0])[:, None, None] / SHAPE[0]
    turns = np.arange(3, 3 + SHAPE[2])
    image = np.exp(2j * np.pi * turns * x + 1j).astype(np.complex64) * np.ones(SHAPE, np.complex64)
    assert np.allclose(np.exp(1j * linear_phase(image, SLICES)), image, atol=1e-4)
    assert demodulate(image, SLICES, 2.5).real.min() > 0.999


def test_real_part_and_phase_make_the_image_again():
    """Nothing is lost: the phase that was taken out, put back, gives the noisy image."""
    image, _ = noisy(2.0)
    found = demodulate(image, SLICES, 2.5)
    assert np.allclose((found.real + 1j * found.imaginary) * np.exp(1j * found.phase), image, atol=1e-4)


def test_an_empty_image_stays_empty():
    """A masked slice has no phase."""
    found = demodulate(np.zeros(SHAPE, np.complex64), SLICES, 2.5)
    assert not found.real.any()
    assert not found.imaginary.any()


def test_the_width_follows_the_phase():
    """A gentle phase takes the widest low-pass, a steep one a narrow one, whatever the noise is."""
    generator = torch.Generator().manual_seed(1)
    gentle = add_complex_noise(np.full(SHAPE, 2.0), np.zeros(SHAPE), 1.0, generator)
    waves = 1.5 * np.sin(2 * np.pi * np.arange(SHAPE[0]) / 16)[:, None, None] * np.ones(SHAPE)
    steep = add_complex_noise(np.full(SHAPE, 5.0), waves, 1.0, generator)
    assert choose_width([gentle], SLICES) == max(WIDTHS_VOXELS)
    assert choose_width([steep], SLICES) == min(WIDTHS_VOXELS)


def test_signal_out_of_phase_is_told_from_noise():
    """Noise has none; a phase that turns within a few voxels has much."""
    generator = torch.Generator().manual_seed(1)
    smooth, _ = noisy(1.0)
    assert out_of_phase(demodulate(smooth, SLICES, 2.5)) < 0.01
    blocks = np.kron(torch.randn((16, 15, 6), generator=generator).numpy(), np.ones((4, 4, 1)))
    rough = add_complex_noise(np.full(SHAPE, 3.0), 2 * blocks, 1.0, generator)
    assert out_of_phase(demodulate(rough, SLICES, 2.5)) > 0.1


def _head_with_phase(phase: np.ndarray, snr: float, half_of_k_space: bool) -> tuple[np.ndarray, np.ndarray]:
    """A bright box in air; the noise of all voxels, or smooth, as zero-filling leaves it."""
    signal = np.zeros(phase.shape)
    signal[8:-8, 8:-8, 8:-8] = snr
    noise = np.random.default_rng(0).standard_normal((2, *phase.shape))
    noise = noise[0] + 1j * noise[1]
    if half_of_k_space:
        spectrum = np.fft.fftn(noise, axes=(0, 1))
        for axis, size in enumerate(phase.shape[:2]):
            np.moveaxis(spectrum, axis, 0)[size // 4 : size - size // 4] = 0
        noise = np.fft.ifftn(spectrum, axes=(0, 1))
        noise /= noise.real.std()
    return (signal * np.exp(1j * phase) + noise).astype(np.complex64), signal


@pytest.mark.parametrize("snr", [3.0, 8.0, 20.0])
@pytest.mark.parametrize("half_of_k_space", [False, True])
def test_a_smooth_phase_loses_nothing_whatever_the_noise(snr, half_of_k_space):
    """No alarm where neighbours share their noise, or the noise is strong."""
    place = np.indices((36, 34, 32))
    phase = 2 * np.sin(2 * np.pi * place[0] / 72) + 0.01 * place[1] ** 2
    image, _ = _head_with_phase(phase, snr, half_of_k_space)
    assert out_of_phase(demodulate(image, (0, 1, 2), 1.5)) < 0.01


@pytest.mark.parametrize("kind", ["waves", "voxels"])
@pytest.mark.parametrize("half_of_k_space", [False, True])
def test_the_energy_lost_to_a_steep_phase_is_told_as_it_is(kind, half_of_k_space):
    """Waves of six voxels, and a phase that jumps from voxel to voxel, which neighbours share nothing of."""
    place, jumps = np.indices((36, 34, 32)), np.random.default_rng(1).standard_normal((36, 34, 32))
    phase = 1.5 * np.sin(2 * np.pi * place[0] / 6) if kind == "waves" else 0.6 * jumps
    image, signal = _head_with_phase(phase, 10.0, half_of_k_space)
    found = demodulate(image, (0, 1, 2), 1.5)
    lost = np.sum((signal * np.sin(phase - found.phase)) ** 2) / np.sum(signal**2)
    assert lost > 0.1
    assert out_of_phase(found) == pytest.approx(lost, rel=0.15)


@pytest.mark.parametrize("across", [0, 1, 2])
@pytest.mark.parametrize("told", [(0, 1, 2), "another plane"])
@pytest.mark.parametrize("jumps", ["by chance", "two packages"])
def test_slices_with_phases_of_their_own_are_found_where_headers_tell_others(across, told, jumps):
    """Stacks of slices without MRAcquisitionType, or turned by a tool that is silent: the bias is gone."""
    place = np.indices((36, 34, 32))
    of_slices = (
        np.random.default_rng(1).uniform(0, 2 * np.pi, 36) if jumps == "by chance" else np.arange(36) % 2
    )
    phase = 2 * np.sin(2 * np.pi * place[0] / 72) + 0.01 * place[1] ** 2 + of_slices[place[across]]
    image, signal = _head_with_phase(phase, 8.0, half_of_k_space=False)
    axes = (0, 1, 2) if told == (0, 1, 2) else tuple(axis for axis in range(3) if axis != (across + 1) % 3)
    found = choose_low_pass([image], axes)
    assert found.axes == tuple(axis for axis in range(3) if axis != across)
    real = demodulate(image, found.axes, found.width_voxels).real[signal > 0]
    assert real.mean() == pytest.approx(8.0, rel=0.01)
    before = demodulate(image, axes, choose_width([image], axes)).real[signal > 0]
    assert before.mean() < 0.95 * 8.0


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 1)])
@pytest.mark.parametrize("kind", ["smooth", "steep all around"])
def test_axes_stay_where_others_keep_no_more(axes, kind):
    """A volume is no stack of slices because its phase is steep, and slices may have one phase."""
    place = np.indices((36, 34, 32))
    phase = 2 * np.sin(2 * np.pi * place[0] / 72) + 0.01 * place[1] ** 2
    if kind == "steep all around":
        phase = 0.8 * np.sin(2 * np.pi * place / 8).sum(axis=0)
    image, _ = _head_with_phase(phase, 8.0, half_of_k_space=False)
    found = choose_low_pass([image], axes)
    if kind == "smooth":
        assert (found.axes, found.width_voxels) == (axes, choose_width([image], axes))
    else:
        assert axes != (0, 1, 2) or found.axes == axes
