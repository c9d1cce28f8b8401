"""Laws of echoes in units of their noise, and of denoising them together."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.filters.nonlocal_bayes import BayesSettings, guided_nonlocal_bayes
from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.nn.weights import build_network
from n2a_bids.algorithms.preparation.echoes import prepare_echoes
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.held_out import hold_out
from n2a_bids.algorithms.risk.stacking import Stack
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.algorithms.strategies.anat import echoes as joint_echoes
from n2a_bids.algorithms.strategies.mean import average_matched
from n2a_bids.io.weights import load_weights
from n2a_bids.lab.simulation.lesions import kept_contrast, make_lesions

NOISE_SD = 20.0


def _clean_echoes(n_echoes=2):
    """Ball of three tissues in air; each tissue decays at its own rate."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 48)] * 3, indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.5
    tissue = np.digitize(np.sin(6 * grid).sum(axis=0), (-0.5, 0.7))
    decay = np.array([1.0, 0.9, 0.85])[tissue]
    return np.stack([mask * (200 + 100 * tissue) * decay**index for index in range(n_echoes)]), mask


def _echoes(clean, mask, seed=0, rician=True):
    rng = np.random.default_rng(seed)
    noisy = clean + NOISE_SD * rng.standard_normal(clean.shape)
    if rician:
        noisy = np.hypot(noisy, NOISE_SD * rng.standard_normal(clean.shape))
    return Repetitions(noisy.astype(np.float32)[..., None], mask, same_contrast=False)


def _denoise(repetitions, **settings):
    config = joint_echoes.JointEchoesConfig(load_weights("resunet-t1w"), n_flips=1, **settings)
    context = Context(generator=torch.Generator().manual_seed(0))
    return joint_echoes.denoise(repetitions, config, context)


def _rmse(image, clean, mask):
    return float(np.sqrt(np.mean((image[mask] - clean[mask]) ** 2)))


@pytest.fixture(scope="module")
def pair():
    clean, mask = _clean_echoes()
    return clean, mask, _echoes(clean, mask)


@pytest.fixture(scope="module")
def denoised(pair):
    return _denoise(pair[2])


@pytest.mark.parametrize("n_echoes", [2, 4])
def test_echoes_come_back_from_their_combinations(n_echoes):
    """The combinations are a rotation: nothing is lost, and noise stays as strong as it was."""
    clean, mask = _clean_echoes(n_echoes)
    echoes = prepare_echoes(_echoes(clean, mask, rician=False))
    np.testing.assert_allclose(echoes.basis @ echoes.basis.T, np.eye(n_echoes), atol=1e-6)
    there = echoes.combine(echoes.images)
    np.testing.assert_allclose(echoes.separate(there), echoes.images, atol=1e-4)
    assert there[0][mask].std() > there[-1][mask].std()


def test_noise_is_measured_though_contrasts_differ(pair):
    """In intensities, to 5 %: the difference of the echoes is far from noise."""
    clean, mask, repetitions = pair
    echoes = prepare_echoes(repetitions)
    assert (clean[0] - clean[1])[mask].std() > 0.8 * NOISE_SD
    for scale in echoes.scales:
        assert np.median(echoes.noise_sd[mask]) * scale.gain == pytest.approx(NOISE_SD, rel=0.05)


def test_noise_that_varies_in_space_is_mapped():
    """Stronger towards one end."""
    clean, mask = _clean_echoes()
    field = np.linspace(0.7, 1.4, 48)[:, None, None]
    rng = np.random.default_rng(0)
    noisy = clean + NOISE_SD * field * rng.standard_normal(clean.shape)
    echoes = prepare_echoes(Repetitions(noisy.astype(np.float32)[..., None], mask, same_contrast=False))
    ends = [echoes.noise_sd[plane][mask[plane]].mean() for plane in (10, 37)]
    # The map is smooth: over a small ball it shows a part of the variation.
    assert 1.15 < ends[1] / ends[0] < field[37, 0, 0] / field[10, 0, 0]


def test_rician_floor_is_found_in_magnitudes_only(pair):
    """Air of magnitudes is Rayleigh distributed; Gaussian noise is not."""
    clean, mask, repetitions = pair
    magnitudes = prepare_echoes(repetitions).magnitudes
    assert magnitudes is not None
    gains = [scale.gain for scale in prepare_echoes(repetitions).scales]
    offsets = [scale.offset for scale in prepare_echoes(repetitions).scales]
    for one, gain, offset in zip(magnitudes, gains, offsets):
        assert one.zero_level * gain + offset == pytest.approx(0, abs=0.3 * NOISE_SD)
    assert prepare_echoes(_echoes(clean, mask, rician=False)).magnitudes is None
    assert prepare_echoes(repetitions, keep_noise_floor=True).magnitudes is None


@pytest.mark.slow
def test_every_echo_comes_out_better_and_in_its_own_contrast(pair, denoised):
    """Less than half of the error of what was measured, and less than that of the other echo."""
    clean, mask, repetitions = pair
    for index in (0, 1):
        image = denoised.repetitions[index, ..., 0]
        error = _rmse(image, clean[index], mask)
        assert error < 0.5 * _rmse(repetitions.data[index, ..., 0], clean[index], mask)
        assert error < 0.3 * _rmse(image, clean[1 - index], mask)


def test_together_is_better_than_alone(pair, denoised):
    """The same network and non-local Bayes do worse on the first echo by itself."""
    clean, mask, repetitions = pair
    echoes = prepare_echoes(repetitions)
    network = build_network("resunet-t1w", load_weights("resunet-t1w")).eval()
    device = torch.device("cpu")
    guide = predict(network, echoes.images[0], echoes.noise_sd, device=device)
    unbiased = echoes.images[0] - echoes.bias(np.stack([guide, guide]), echoes.noise_sd)[0]
    alone = guided_nonlocal_bayes(unbiased, guide, echoes.noise_sd, mask, BayesSettings(device))
    error_alone = _rmse(echoes.scales[0].invert(alone), clean[0], mask)
    assert _rmse(denoised.repetitions[0, ..., 0], clean[0], mask) < 0.95 * error_alone


@pytest.mark.slow
def test_a_signal_of_one_echo_stays_in_it():
    """A small lesion in the second echo alone: most of it stays there, and hardly any shows in the first."""
    clean, mask = _clean_echoes()
    lesions = make_lesions(mask, 3 * NOISE_SD, np.random.default_rng(0), n_lesions=3, radius_mm=3.0)
    with_lesions = clean + np.stack([np.zeros_like(lesions.signal), lesions.signal])
    images = [_denoise(_echoes(one, mask, seed=3, rician=False)) for one in (clean, with_lesions)]
    kept = [
        kept_contrast(
            images[1].repetitions[echo, ..., 0], images[0].repetitions[echo, ..., 0], lesions
        ).mean()
        for echo in (0, 1)
    ]
    assert abs(kept[0]) < 0.25
    assert kept[1] > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("corrected", [True, False])
def test_the_rician_floor_goes_or_stays_as_asked(corrected):
    """Low signal: the mean over the air and over a dark tissue says what became of the floor."""
    clean, mask = _clean_echoes()
    dark = 0.15 * clean
    repetitions = _echoes(dark, mask)
    result = _denoise(repetitions, keep_noise_floor=not corrected)
    inside = ndimage.binary_erosion(mask, iterations=3) & (dark[0] < 1.6 * NOISE_SD)
    measured, left = (images[0, ..., 0][inside].mean() for images in (repetitions.data, result.repetitions))
    floor = measured - dark[0][inside].mean()
    assert floor > 0.25 * NOISE_SD
    kept = (left - dark[0][inside].mean()) / floor
    assert abs(kept) < 0.35 if corrected else kept == pytest.approx(1, abs=0.2)
    if not corrected:
        air = ~ndimage.binary_dilation(mask, iterations=4)
        assert result.repetitions[0, ..., 0][air].mean() == pytest.approx(
            repetitions.data[0, ..., 0][air].mean(), rel=0.05
        )


@pytest.mark.slow
def test_four_echoes_and_their_combination(pair):
    """All come out better; the combined image is their mean in the unit of the first, the noise its own."""
    clean, mask = _clean_echoes(4)
    repetitions = _echoes(clean, mask)
    result = _denoise(repetitions)
    for index in range(4):
        measured = _rmse(repetitions.data[index, ..., 0], clean[index], mask)
        assert _rmse(result.repetitions[index, ..., 0], clean[index], mask) < 0.5 * measured
    rows = result.record.repetitions
    matched = [(image - row.offset) / row.gain for image, row in zip(clean, rows)]
    expected = rows[0].offset + rows[0].gain * np.mean(matched, axis=0)
    of_mean = _rmse(average_matched(repetitions)[..., 0], expected, mask)
    assert _rmse(result.data[..., 0], expected, mask) < 0.85 * of_mean
    assert [row.noise_sd for row in rows] == [pytest.approx(NOISE_SD, rel=0.12)] * 4
    contrasts = np.array([image[mask].std() for image in clean])
    matched_noise = NOISE_SD * np.sqrt(np.mean((contrasts[0] / contrasts) ** 2))
    assert np.median(result.noise_sd[mask]) == pytest.approx(matched_noise, rel=0.12)


@pytest.mark.slow
def test_gain_and_offset_of_one_echo_carry_through(pair, denoised):
    """denoise(a*y + b) == a*denoise(y) + b for each echo by itself, where a*y + b is exact."""
    _, _, repetitions = pair
    rounded = dataclasses.replace(repetitions, data=np.round(repetitions.data))
    scaled = rounded.data.copy()
    scaled[1] = 4 * scaled[1] + 64
    first = _denoise(rounded)
    second = _denoise(dataclasses.replace(repetitions, data=scaled))
    np.testing.assert_allclose(second.repetitions[0], first.repetitions[0], atol=0.02)
    np.testing.assert_allclose(second.repetitions[1], 4 * first.repetitions[1] + 64, atol=0.1)


def test_same_seed_gives_the_same_bits(pair, denoised):
    """All randomness comes from the one generator."""
    np.testing.assert_array_equal(_denoise(pair[2]).repetitions, denoised.repetitions)


def test_risk_ranks_what_the_truth_ranks(pair, monkeypatch):
    """Without a truth: over-smoothed echoes lose against denoised ones, and both against a better result."""
    clean, mask, repetitions = pair
    echoes = prepare_echoes(repetitions)
    truth = np.stack([scale.apply(image.astype(np.float32)) for scale, image in zip(echoes.scales, clean)])
    blurred = np.stack([ndimage.gaussian_filter(image, 2) for image in truth])

    def cheat(self, noisy, box, n_stages, flips=((),), **settings):
        inside = (slice(None), *box)
        return [noisy, blurred[inside], truth[inside], 0.5 * (noisy + truth[inside])][:n_stages]

    monkeypatch.setattr(joint_echoes._Estimator, "estimate", cheat)
    rows = {row.name: row.risk for row in _denoise(repetitions).record.candidates}
    inside = hold_out(mask, torch.Generator().manual_seed(0)).mask & mask
    errors = [
        np.mean((image - truth)[:, inside] ** 2)
        for image in (echoes.images, blurred, truth, 0.5 * (echoes.images + truth))
    ]
    # The third stage is given the noisier recorrupted input, whose added noise is known.
    added = 0.25 * 0.4**2 * np.mean(echoes.noise_sd[inside] ** 2)
    expected = np.array(errors) - errors[0] + [0, 0, 0, added]
    assert [rows[name] for name in joint_echoes._STAGES] == pytest.approx(expected, abs=0.15, rel=0.05)


def test_echoes_without_noise_stay_as_they_are():
    """Nothing to take away: changed by less than a hundredth of the contrast."""
    clean, mask = _clean_echoes()
    smooth = clean + 1e-3 * np.random.default_rng(0).standard_normal(clean.shape)
    result = _denoise(Repetitions(smooth.astype(np.float32)[..., None], mask, same_contrast=False))
    assert _rmse(result.repetitions[0, ..., 0], clean[0], mask) < 0.01 * clean[0][mask].std()


@pytest.mark.parametrize(("change", "why"), [(0.02, "no candidate beat"), (-0.5, "below zero")])
def test_doubtful_results_leave_the_echoes_as_measured(pair, monkeypatch, change, why):
    """A gain smaller than the doubt about the noise is none, and one above all noise is no gain."""
    stack = Stack(
        weights=np.eye(4)[2],
        risks=np.full(4, -1.0),
        standard_errors=np.full(4, 0.01),
        combined_risk=change - 1.0 * (change < 0) - 0.1,
        combined_standard_error=0.01,
        block_risks=np.full((1, 4), -1.0),
        combined_block_risks=np.full(1, -1.0),
    )
    monkeypatch.setattr(joint_echoes, "_compare", lambda *_: (stack, 1.0, 0.0))
    result = _denoise(pair[2])
    chosen = result.record.chosen
    assert chosen.name == "echoes as measured"
    assert chosen.mean_won
    assert why in chosen.description
    np.testing.assert_allclose(result.repetitions[..., 0], pair[2].data[..., 0], rtol=1e-4, atol=0.01)
    np.testing.assert_allclose(result.data, average_matched(pair[2]), rtol=1e-3, atol=0.5)


@pytest.fixture(scope="module")
def smooth_echoes(pair):
    """Echoes with smoothed noise."""
    clean, _, repetitions = pair
    noise = np.random.default_rng(0).standard_normal(clean.shape)
    noise = ndimage.gaussian_filter(noise, (0, 0.7, 0.7, 0.7))
    noisy = (clean + NOISE_SD * noise / noise.std()).astype(np.float32)
    return dataclasses.replace(repetitions, data=noisy[..., None])


def test_what_neighbours_share_of_the_noise_is_measured(pair, smooth_echoes):
    """By the weakest combination: white noise, and smoothed noise with its correlation of 0.6."""
    assert prepare_echoes(pair[2]).covariance is None
    found = prepare_echoes(smooth_echoes).covariance
    np.testing.assert_allclose(found.along_axes[:, 1], np.exp(-1 / (4 * 0.7**2)), atol=0.08)


@pytest.mark.slow
def test_noise_that_is_not_white_is_named_and_denoised_as_such(pair, smooth_echoes, monkeypatch):
    """Smoothed noise has less fine detail than power; taken for white, a third more of its power stays."""
    clean, mask, repetitions = pair
    assert _denoise(repetitions).record.warnings == ()
    told = _denoise(smooth_echoes)
    (warning,) = told.record.warnings
    assert "correlated between neighbours" in warning
    monkeypatch.setattr(
        joint_echoes,
        "prepare_echoes",
        lambda *args, **options: dataclasses.replace(prepare_echoes(*args, **options), covariance=None),
    )
    as_white = _denoise(smooth_echoes)
    told_rmse, white_rmse = (
        np.mean([_rmse(one.repetitions[k, ..., 0], clean[k], mask) for k in range(2)])
        for one in (told, as_white)
    )
    assert told_rmse < 0.95 * white_rmse


@pytest.mark.slow
def test_auto_denoises_echoes_together_where_weights_are_there(pair):
    """Without pretrained weights Noise2Average, which needs none, takes them."""
    strategy = get_strategy("auto")
    with_weights = strategy.config("fast", load_weights("resunet-t1w"), None)
    context = Context(generator=torch.Generator().manual_seed(0))
    rows = strategy.denoise(pair[2], with_weights, context).record.candidates
    assert "joint network" in [row.name for row in rows]
    from_scratch = strategy.config("fast", None, None)
    schedule = dataclasses.replace(from_scratch.echoes_from_scratch.schedule, n_epochs=1, steps_per_epoch=1)
    echoes = dataclasses.replace(from_scratch.echoes_from_scratch, schedule=schedule, n_iterations=1)
    from_scratch = dataclasses.replace(from_scratch, echoes_from_scratch=echoes)
    assert "noise2average" in strategy.denoise(pair[2], from_scratch, context).record.chosen.name


def test_unusable_echoes_are_refused(pair):
    """A constant echo, and values that are no numbers."""
    _, _, repetitions = pair
    constant, holes = repetitions.data.copy(), repetitions.data.copy()
    constant[1], holes[0, 24, 24, 24] = 3, np.nan
    with pytest.raises(ValueError, match="constant"):
        prepare_echoes(dataclasses.replace(repetitions, data=constant))
    with pytest.raises(ValueError, match="NaN"):
        prepare_echoes(dataclasses.replace(repetitions, data=holes))
