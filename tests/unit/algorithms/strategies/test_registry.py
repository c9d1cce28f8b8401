"""Laws that every strategy keeps, on small phantoms with tiny recipes."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from n2a_bids.algorithms.averaging import RepetitionWeights
from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.nn.networks import MUNet, ResidualUNet
from n2a_bids.algorithms.nn.training import Schedule
from n2a_bids.algorithms.nn.weights import PretrainedWeights, build_network
from n2a_bids.algorithms.noise.rician import rician_bias
from n2a_bids.algorithms.preparation.repetitions import prepare
from n2a_bids.algorithms.registration.resampling import resample
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.candidates import Candidate, NoisyImage, estimate_all
from n2a_bids.algorithms.risk.comparison import compare
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.algorithms.strategies.anat import auto, recorrupted
from n2a_bids.errors import ConfigError
from n2a_bids.io.weights import load_weights

SHORT = Schedule(n_epochs=1, steps_per_epoch=2, learning_rate=1e-4)


def _repetitions(n_repetitions=2, noise=0.4, seed=0):
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.6
    clean = mask * (2 + np.sin(5 * grid).sum(axis=0))
    rng = np.random.default_rng(seed)
    data = clean + noise * rng.standard_normal((n_repetitions, *clean.shape))
    return Repetitions(data.astype(np.float32)[..., None], mask), clean


def _context(seed=0):
    return Context(generator=torch.Generator().manual_seed(seed))


def _short_config(name):
    config = get_strategy(name).config("fast", None)
    if name == "auto":
        return dataclasses.replace(
            config, recorrupted=dataclasses.replace(config.recorrupted, schedule=SHORT)
        )
    return dataclasses.replace(config, schedule=SHORT) if name != "mean" else config


@pytest.mark.slow
@pytest.mark.parametrize("name", ["auto", "mean", "noise2average", "noise2noise", "recorrupted"])
def test_same_seed_gives_the_same_bits(name):
    """All randomness comes from the one generator."""
    repetitions, _ = _repetitions()
    strategy, config = get_strategy(name), _short_config(name)
    first = strategy.denoise(repetitions, config, _context())
    second = strategy.denoise(repetitions, config, _context())
    np.testing.assert_array_equal(first.data, second.data)
    assert (first.uncertainty is None) == (name != "auto")
    if name == "auto":
        np.testing.assert_array_equal(first.uncertainty, second.uncertainty)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["auto", "mean", "noise2average", "noise2noise", "recorrupted"])
def test_gain_and_offset_carry_through(name):
    """denoise(a*y + b) == a*denoise(y) + b where a*y + b is exact, as of stored integers."""
    repetitions, _ = _repetitions()
    stored = dataclasses.replace(repetitions, data=np.round(repetitions.data * 1024) / np.float32(1024))
    moved = dataclasses.replace(stored, data=stored.data * np.float32(3) + np.float32(64))
    strategy, config = get_strategy(name), _short_config(name)
    plain, scaled = (strategy.denoise(one, config, _context()) for one in (stored, moved))
    np.testing.assert_allclose(scaled.data, 3 * plain.data + 64, rtol=1e-6, atol=1e-4)
    if plain.uncertainty is not None:
        np.testing.assert_allclose(scaled.uncertainty, 3 * plain.uncertainty, rtol=1e-3)


@pytest.mark.parametrize("name", ["auto", "noise2average", "noise2noise", "recorrupted"])
def test_inputs_are_not_modified_and_shapes_kept(name):
    """Any number of repetitions goes in, one image of their grid comes out."""
    repetitions, _ = _repetitions(n_repetitions=3)
    before = repetitions.data.copy()
    result = get_strategy(name).denoise(repetitions, _short_config(name), _context())
    np.testing.assert_array_equal(repetitions.data, before)
    assert result.data.shape == before.shape[1:]
    assert np.isfinite(result.data).all()
    assert result.record.chosen.name and result.record.chosen.description
    compared = [row.name for row in result.record.candidates or ()]
    assert not compared or result.record.chosen.name in compared


def test_auto_returns_the_mean_when_nothing_beats_it():
    """An untrained network loses on the held-out blocks, and the plain mean comes out."""
    repetitions, _ = _repetitions(noise=0.02)
    config = dataclasses.replace(
        _short_config("auto"),
        recorrupted=dataclasses.replace(
            _short_config("auto").recorrupted, schedule=Schedule(1, 1, learning_rate=1e-2)
        ),
    )
    result = get_strategy("auto").denoise(repetitions, config, _context())
    mean = get_strategy("mean").denoise(repetitions, None, _context())
    if result.record.chosen.mean_won:
        np.testing.assert_allclose(result.data, mean.data, atol=1e-4)
    assert result.record.candidates[0].name == "mean"


def test_auto_returns_the_mean_when_the_risk_is_impossible(monkeypatch):
    """More error taken away than there was: the repetitions differ by more than independent noise."""
    repetitions, _ = _repetitions()

    def compare_too_well(*args, **kwargs):
        stack = compare(*args, **kwargs)
        return dataclasses.replace(stack, combined_risk=-9.0, combined_standard_error=0.1)

    monkeypatch.setattr(auto, "compare", compare_too_well)
    result = get_strategy("auto").denoise(repetitions, _short_config("auto"), _context())
    mean = get_strategy("mean").denoise(repetitions, None, _context())
    assert result.record.chosen.mean_won
    assert "more than independent noise" in result.record.chosen.description
    np.testing.assert_allclose(result.data, mean.data, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("taken_away", "mean_won"), [(1.05, False), (1.2, True)])
def test_a_perfect_result_is_not_taken_for_an_impossible_one(monkeypatch, taken_away, mean_won):
    """The error of the mean is known to a tenth: noise alone may come out with nothing left."""
    repetitions, _ = _repetitions()

    def take_away(*args, **kwargs):
        stack = compare(*args, **kwargs)
        return dataclasses.replace(stack, combined_risk=-taken_away, combined_standard_error=0.001)

    monkeypatch.setattr(auto, "compare", take_away)
    monkeypatch.setattr(auto, "error_of_mean", lambda *args: auto.MeanError(1.0, 0.0))
    result = get_strategy("auto").denoise(repetitions, _short_config("auto"), _context())
    assert result.record.chosen.mean_won is mean_won


def test_nothing_falls_below_the_average():
    """Magnitudes do not become negative in the air, whatever a network says."""
    repetitions, _ = _repetitions()
    prepared = prepare(repetitions)
    estimate = np.full(prepared.mask.shape, -100, np.float32)
    result = recorrupted.finish_plain("recorrupted", "", prepared, estimate, (), 0.0)
    lowest = prepared.scales[0].invert(prepared.average).min()
    assert result.data.min() == pytest.approx(lowest, abs=1e-5)


def test_echoes_keep_their_own_scale():
    """Repetitions of another contrast come back in their own intensities."""
    repetitions, _ = _repetitions()
    data = repetitions.data.copy()
    data[1] *= 10
    echoes = dataclasses.replace(repetitions, data=data, same_contrast=False)
    result = get_strategy("noise2average").denoise(echoes, _short_config("noise2average"), _context())
    inside = repetitions.mask
    ratio = result.repetitions[1][inside].std() / result.repetitions[0][inside].std()
    assert ratio == pytest.approx(10, rel=0.25)


def test_faithful_noise2average_is_zero_outside_the_mask_in_z_scores():
    """The start code's masking: outside the brain the image is the in-mask mean."""
    repetitions, _ = _repetitions()
    config = dataclasses.replace(
        get_strategy("noise2average").config("faithful"), schedule=Schedule(1, 0, 5e-5), n_iterations=1
    )
    result = get_strategy("noise2average").denoise(repetitions, config, _context())
    outside = result.data[~repetitions.mask]
    assert np.ptp(outside) < 1e-4


@pytest.mark.parametrize("network", [ResidualUNet((4, 8), (1, 1)), MUNet(n_channels=2)])
def test_blocking_never_changes_the_prediction(network):
    """Little memory means small blocks and the same image."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((60, 30, 27)).astype(np.float32)
    noise_sd = np.full(image.shape, 0.3, np.float32)
    device = torch.device("cpu")
    network = network.eval()
    whole = predict(network, image, noise_sd, device=device)
    blocks = predict(network, image, noise_sd, device=device, memory_gb=2e-3)
    np.testing.assert_allclose(blocks, whole, atol=0.02)


def test_weights_that_do_not_fit_are_refused():
    """A wrong tensor shape is named."""
    weights = PretrainedWeights("munet-t1w", "0", {"tail.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="do not fit"):
        build_network("munet-t1w", weights)


def test_unknown_strategy_lists_those_that_exist():
    """A typing error is answered with the names."""
    with pytest.raises(ConfigError, match="noise2average"):
        get_strategy("noise3average")


@pytest.mark.slow
def test_the_rician_bias_goes_unless_it_is_to_stay():
    """Magnitudes at low SNR are too high on average, and so is a result that keeps the noise floor."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 36)] * 3, indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.4
    clean = mask * (2 + np.sin(5 * grid).sum(axis=0) / 2)
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((2, 2, *clean.shape))
    data = np.hypot(clean + noise[0], noise[1]).astype(np.float32)
    repetitions = Repetitions(data[..., None], mask)
    config = dataclasses.replace(
        get_strategy("recorrupted").config("fast", load_weights("resunet-t1w")),
        schedule=Schedule(n_epochs=1, steps_per_epoch=6, learning_rate=5e-4),
        n_flips=1,
    )
    bias = {}
    for correct in (True, False):
        settings = dataclasses.replace(config, keep_noise_floor=not correct)
        denoised = get_strategy("recorrupted").denoise(repetitions, settings, _context()).data[..., 0]
        bias[correct] = float((denoised - clean)[mask].mean())
    mean_bias = float((data.mean(axis=0) - clean)[mask].mean())
    assert mean_bias > 0.2
    assert abs(bias[True]) < bias[False] - 0.02 * mean_bias


def _magnitudes(shift_voxels=0.0):
    """Two magnitudes of a ball at low SNR; the second may have been moved and resampled."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 36)] * 3, indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.4
    clean = mask * (3 + np.sin(5 * grid).sum(axis=0) / 2)
    noise = np.random.default_rng(5).standard_normal((2, 2, *clean.shape))
    data = np.hypot(clean + noise[0], noise[1]).astype(np.float32)
    if shift_voxels:
        there = np.eye(4)
        there[:3, 3] = shift_voxels
        moved = ndimage.shift(clean, shift_voxels, order=3)
        second = np.hypot(moved + noise[0, 1], noise[1, 1])
        data[1], _ = resample(second, there, clean.shape)
    return Repetitions(data[..., None], mask), clean, mask


def _auto_with_short_training(repetitions):
    weights = [load_weights(name) for name in ("resunet-t1w", "fusion-t1w")]
    config = get_strategy("auto").config("fast", *weights)
    schedule = Schedule(n_epochs=1, steps_per_epoch=4, learning_rate=1e-4)
    config = dataclasses.replace(
        config, recorrupted=dataclasses.replace(config.recorrupted, schedule=schedule, block_edge=32)
    )
    return get_strategy("auto").denoise(repetitions, config, _context())


@pytest.mark.slow
@pytest.mark.parametrize("shift_voxels", [pytest.param(0.0, marks=pytest.mark.proof), 0.35])
def test_auto_takes_the_rician_bias_out(shift_voxels):
    """With the shipped weights, aligned or interpolated: little of the mean's bias is left."""
    repetitions, clean, mask = _magnitudes(shift_voxels)
    result = _auto_with_short_training(repetitions)
    assert result.record.rician
    names = [row.name for row in result.record.candidates]
    assert "fine-tuned network + non-local Bayes + fusion" in names
    assert not any("," in name for name in names), "they are listed with commas"
    mean_bias = float((repetitions.data.mean(axis=0)[..., 0] - clean)[mask].mean())
    assert mean_bias > 0.1
    assert abs(float((result.data[..., 0] - clean)[mask].mean())) < 0.5 * mean_bias


@pytest.mark.slow
def test_auto_takes_the_floor_of_several_coils_out():
    """The root sum of squares of eight coils: most of a bias fifteen times the Rician one is gone."""
    clean, mask = _magnitudes()[1:]
    generator = np.random.default_rng(5)
    noise_sd = 0.12 * clean[mask].mean()
    parts = noise_sd * generator.standard_normal((2, 16, *clean.shape))
    parts[:, ::2] += clean / np.sqrt(8)
    data = np.sqrt((parts**2).sum(axis=1)).astype(np.float32)
    repetitions = Repetitions(data[..., None], mask)
    result = _auto_with_short_training(repetitions)
    assert result.record.n_coils == pytest.approx(8, rel=0.15)
    mean_bias = float((data.mean(axis=0) - clean)[mask].mean())
    assert mean_bias > 0.3 * noise_sd
    assert abs(float((result.data[..., 0] - clean)[mask].mean())) < 0.4 * mean_bias


@pytest.mark.slow
def test_auto_without_weights_judges_all_candidates_alike():
    """Nothing tells the clean signal beforehand: the bias stays in targets and candidates."""
    repetitions, _, _ = _magnitudes()
    result = get_strategy("auto").denoise(repetitions, _short_config("auto"), _context())
    assert not result.record.rician
    rows = {row.name: row.risk for row in result.record.candidates}
    assert "trained network + non-local Bayes 2x" in rows
    assert not any("fusion" in name or "tuned" in name for name in rows)


def test_bias_of_unequal_repetitions_is_that_of_their_weighted_mean():
    """Each repetition adds its own bias, by its weight; equal ones as one."""
    repetitions, _, _ = _magnitudes()
    prepared = prepare(repetitions)
    signal = prepared.magnitude.zero_level + np.full((4, 4, 4), 2.0, np.float32)
    noise_sd = np.full((4, 4, 4), 0.5, np.float32)
    unequal = dataclasses.replace(
        prepared, weighting=RepetitionWeights(np.array([0.8, 0.2]), np.array([0.4, 1.6]))
    )
    expected = 0.8 * rician_bias(2.0, 0.5 * 0.4**0.5) + 0.2 * rician_bias(2.0, 0.5 * 1.6**0.5)
    np.testing.assert_allclose(unequal.bias(signal, noise_sd), expected, rtol=1e-4)
    np.testing.assert_allclose(prepared.bias(signal, noise_sd), rician_bias(2.0, 0.5), rtol=1e-4)


@pytest.mark.parametrize("name", ["resunet-t1w", "munet-t1w"])
def test_shipped_weights_denoise_a_brain_they_never_saw(name, head):
    """Without any fine-tuning the error of a noisy head falls by a third at least."""
    image, mask = head
    inside = image[mask]
    clean = ((image - inside.mean()) / inside.std()).astype(np.float32)
    noise_sd = np.full(clean.shape, 0.3, np.float32)
    noise = 0.3 * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    network = build_network(name, load_weights(name)).eval()
    denoised = predict(network, clean + noise, noise_sd, device=torch.device("cpu"))
    assert (denoised - clean)[mask].std() < 2 / 3 * noise[mask].std()


def test_shipped_fusion_betters_what_it_joins(head):
    """On a brain that no network saw, network and non-local Bayes together err less than each alone."""
    image, mask = head
    inside = image[mask]
    clean = ((image - inside.mean()) / inside.std()).astype(np.float32)
    noise_sd = np.full(clean.shape, 0.3, np.float32)
    noisy = clean + 0.3 * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    network, fusion = (
        build_network(name, load_weights(name)).eval() for name in ("resunet-t1w", "fusion-t1w")
    )
    candidates = [
        Candidate("network", network),
        Candidate("patches", network, nonlocal_passes=2),
        Candidate("fused", network, nonlocal_passes=2, fusion=fusion),
    ]
    estimates = estimate_all(candidates, NoisyImage(noisy, noise_sd, mask), _context())
    alone, patches, fused = (np.mean((estimate - clean)[mask] ** 2) for estimate in estimates)
    assert fused < min(alone, patches)


@pytest.mark.slow
def test_zero_shot_trains_nothing():
    """The pretrained network and what follows it are all there is; the risk still chooses."""
    repetitions, clean = _repetitions()
    strategy = get_strategy("auto")
    weights = [load_weights(name) for name in strategy.facts.weights_of("zero-shot")]
    result = strategy.denoise(repetitions, strategy.config("zero-shot", *weights), _context())
    assert not result.record.history
    names = [row.name for row in result.record.candidates]
    assert names[0] == "mean" and names[1].startswith("pretrained network (level")
    assert not any("tuned" in name or name == "trained network" for name in names)
    mask = repetitions.mask
    mean = repetitions.data.mean(axis=0)
    errors = [np.std((image[..., 0] - clean)[mask]) for image in (result.data, mean)]
    assert errors[0] < 0.8 * errors[1]


def test_weights_of_another_network_are_named_in_one_line():
    """What they are, and what to do; not a line for each tensor."""
    other = PretrainedWeights("resunet-t1w", "", load_weights("resunet-2d").tensors)
    with pytest.raises(ValueError, match=r"do not fit the network.*another network or version") as caught:
        build_network("resunet-t1w", other)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
