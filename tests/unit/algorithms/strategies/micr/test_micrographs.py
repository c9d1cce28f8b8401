"""Laws of strategies for micrographs: units, channels, saturation, tiles, the mean as the floor, no grids."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from n2a_bids.algorithms.averaging import equal_weights
from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.micrographs import planes
from n2a_bids.algorithms.micrographs.counting_noise import CountingNoise
from n2a_bids.algorithms.micrographs.planes import denoise_planes
from n2a_bids.algorithms.micrographs.stabilised import StableScale, hold_out_squares, prepare_fields
from n2a_bids.algorithms.nn.planar_inference import FLIPS
from n2a_bids.algorithms.nn.training import Schedule
from n2a_bids.algorithms.normalization import with_equal_gain
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.candidates import Candidate
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.algorithms.strategies.mean import average_matched
from n2a_bids.algorithms.strategies.micr import auto, noise2average
from n2a_bids.algorithms.strategies.micr.candidates import PlaneCandidate, PlaneEstimator
from n2a_bids.io.weights import load_weights
from n2a_bids.strategy_table import strategies_of

SHIPPED = load_weights("resunet-2d")
needs_weights = pytest.mark.skipif(SHIPPED is None, reason="no weights of resunet-2d in the package")


def scene(seed=0, size=96):
    """Blobs with borders, 4 to 40 counts."""
    noise = np.random.default_rng(seed).standard_normal((size, size))
    fields = [ndimage.gaussian_filter(noise, sd, mode="wrap") for sd in (1.5, 7)]
    return 20 + 8 * np.tanh(fields[1] / fields[1].std() * 4) + 4 * fields[0] / fields[0].std()


def exposures(expected, n_repetitions=2, seed=1, gain=2.0, zero=50.0):
    """Repetitions of one field of view from a camera with a gain and a black level; (X, Y, Z, C) counts."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(np.maximum(expected, 0), (n_repetitions, *expected.shape))
    data = (gain * counts + zero).astype(np.float32)
    return Repetitions(data, np.ones(expected.shape[:3], bool), micrograph=True)


def context(seed=0):
    return Context(generator=torch.Generator().manual_seed(seed))


def short(name, weights=None, steps=2):
    """A strategy with settings that train for some steps only."""
    strategy = get_strategy(name, "micr")
    settings = strategy.config("fast", weights)
    schedule = Schedule(n_epochs=1, steps_per_epoch=steps, learning_rate=1e-4)
    if name == "mean":
        return strategy, settings
    if name in ("auto", "noise2average"):
        training = replace(settings.training, schedule=schedule, batch_size=4)
        return strategy, replace(settings, training=training)
    return strategy, replace(settings, schedule=schedule, batch_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [row.name for row in strategies_of("micr")])
def test_channels_planes_and_intensities_come_back(name):
    """Two planes and three channels, in the unit of the camera, finite; one seed gives one image."""
    expected = np.stack([scene(seed, 48) for seed in range(6)], -1).reshape(48, 48, 2, 3)
    repetitions = exposures(expected)
    strategy, settings = short(name)
    results = [strategy.denoise(repetitions, settings, context(5)) for _ in range(2)]
    assert results[0].data.shape == (48, 48, 2, 3)
    assert np.isfinite(results[0].data).all()
    assert results[0].data.mean() == pytest.approx(repetitions.data.mean(), rel=0.05)
    np.testing.assert_array_equal(results[0].data, results[1].data)


def test_iterations_of_noise2average_start_from_one_network(monkeypatch):
    """Also where nothing is pretrained: what an iteration gains is not luck of its random weights."""
    started = []

    def keep_start(network, *args, **settings):
        started.append(next(network.parameters()).detach().clone())
        return train_network(network, *args, **settings)

    train_network = noise2average.train_network
    monkeypatch.setattr(noise2average, "train_network", keep_start)
    monkeypatch.setattr(noise2average, "_cross_risk", lambda *args: -len(started))
    strategy, settings = short("noise2average")
    strategy.denoise(exposures(scene(size=48)[..., None, None]), settings, context())
    assert len(started) == settings.n_iterations
    assert all(torch.equal(one, started[0]) for one in started)


def test_an_untrained_network_does_not_beat_the_mean():
    """Without weights and with two steps, auto returns the mean itself."""
    repetitions = exposures(scene()[..., None, None])
    strategy, settings = short("auto")
    denoised = strategy.denoise(repetitions, settings, context())
    assert denoised.record.chosen.mean_won
    np.testing.assert_allclose(denoised.data, average_matched(repetitions), rtol=1e-6)


@pytest.mark.slow
@needs_weights
@pytest.mark.parametrize("n_repetitions", [2, 4])
def test_auto_beats_the_mean_and_knows_by_how_much(n_repetitions):
    """The estimated gain agrees with the true one, and denoised halves agree in finer detail."""
    expected = scene(size=160)
    repetitions = exposures(expected[..., None, None], n_repetitions)
    strategy, settings = short("auto", SHIPPED, steps=10)
    denoised = strategy.denoise(repetitions, settings, context())
    truth = 2 * expected + 50
    errors = [
        np.mean((image[..., 0, 0] - truth) ** 2) for image in (average_matched(repetitions), denoised.data)
    ]
    assert errors[1] < 0.5 * errors[0]
    assert 1 / denoised.gain.denoising == pytest.approx(errors[1] / errors[0], abs=0.12)
    rings = denoised.record.ring_correlation
    assert rings.pixels_after < rings.pixels_before
    assert denoised.record.counting_noise[0].gain == pytest.approx(2, rel=0.1)


@needs_weights
def test_a_gain_without_training_is_told_to_half_a_decibel():
    """Squares of nearly the whole image tell it, and that they are judged with more noise is allowed for."""
    expected = scene(size=192)
    repetitions = exposures(expected[..., None, None])
    strategy = get_strategy("auto", "micr")
    denoised = strategy.denoise(repetitions, strategy.config("zero-shot", SHIPPED), context())
    # In units of the noise, whose variance is that of counting and readout.
    mean, result = (
        np.mean((image[..., 0, 0] - 2 * expected - 50) ** 2 / expected)
        for image in (average_matched(repetitions), denoised.data)
    )
    assert denoised.gain.decibels == pytest.approx(10 * np.log10(mean / result), abs=0.5)
    blend = denoised.record.candidates[-1]
    assert blend.gain_over_mean_db == pytest.approx(denoised.gain.decibels, abs=0.01)


@pytest.mark.slow
@needs_weights
@pytest.mark.parametrize("seed", [3, 4])
def test_the_gain_of_a_small_field_is_that_of_intensities(seed):
    """Six small squares are held out; the bright half, where noise is strong, counts most."""
    bright = np.linspace(0, 1, 160)[:, None] > 0.5
    expected = np.where(bright, 30 + 1.5 * scene(seed, 160), scene(seed, 160) / 3)
    repetitions = exposures(expected[..., None, None], seed=seed)
    strategy, settings = short("auto", SHIPPED)
    denoised = strategy.denoise(repetitions, settings, context(seed))
    mean, result = (
        np.mean((image[..., 0, 0] - 2 * expected - 50) ** 2)
        for image in (average_matched(repetitions), denoised.data)
    )
    assert denoised.gain.decibels == pytest.approx(10 * np.log10(mean / result), abs=0.6)
    blend = denoised.record.candidates[-1]
    assert blend.gain_over_mean_db == pytest.approx(denoised.gain.decibels, abs=0.01)


def test_unequal_noise_does_not_bend_the_risk():
    """Of four exposures one is less noisy: the risk of a smoothed mean is its error, whatever was drawn."""
    rng, expected = np.random.default_rng(2), scene(size=192)
    sds = np.array([3.3, 4.0, 4.0, 4.0])
    data = expected + sds[:, None, None] * rng.standard_normal((4, 192, 192))
    fields = prepare_fields(
        data[..., None].astype(np.float32), np.ones((192, 192, 1), bool), context().generator
    )
    held_out = hold_out_squares(fields, context().generator)

    def smooth(volume, noise_sd):
        return ndimage.gaussian_filter(volume, (0, 1, 1))

    volumes = [Candidate("mean"), Candidate("smooth", function=smooth)]
    mean = fields.weighting.average(data.astype(np.float32))
    errors = [
        np.mean((image - expected)[held_out.mask[0]] ** 2)
        for image in (mean, ndimage.gaussian_filter(mean, 1))
    ]
    unit = fields.scale.spread**2 * fields.scale.noise.offset
    for seed in range(4):
        risk = auto.compare_on_squares(volumes, fields, held_out, context(seed)).risks[1] * unit
        assert risk == pytest.approx(errors[1] - errors[0], abs=0.15 * errors[0])


@pytest.mark.parametrize(
    ("doses", "readout_sd"), [((1, 1), 0), ((1, 4), 0), ((4, 1), 0), ((1, 4), 3), ((1, 1, 4), 0)]
)
def test_exposures_weigh_by_their_noise(doses, readout_sd):
    """The average has the least error that doses allow, and the risk of a smoothed one is its error."""
    rng, expected = np.random.default_rng(1), np.maximum(scene(size=192), 1)
    data = np.stack(
        [rng.poisson(dose * expected) + readout_sd * rng.standard_normal((192, 192)) for dose in doses]
    )
    repetitions = Repetitions(
        data[..., None, None].astype(np.float32), np.ones((192, 192, 1), bool), micrograph=True
    )
    matched = with_equal_gain(repetitions)[..., 0]
    fields = prepare_fields(matched, repetitions.mask, context().generator)
    relative = np.array(doses) / doses[0]
    variances = (expected.mean() * np.array(doses) + readout_sd**2) / relative**2
    average = fields.weighting.average(matched)[..., 0]
    error = np.mean((average - doses[0] * expected) ** 2)
    assert error == pytest.approx(1 / (1 / variances).sum(), rel=0.06)
    assert fields.weighting.is_weighted == (len(set(doses)) > 1)

    held_out = hold_out_squares(fields, context().generator)
    volumes = [
        Candidate("mean"),
        Candidate("smooth", function=lambda one, _: ndimage.gaussian_filter(one, (0, 1, 1))),
    ]
    stack = auto.compare_on_squares(volumes, fields, held_out, context())
    truth = fields.scale.apply(np.float32(doses[0]) * expected[None].astype(np.float32), 1e6)
    mean = fields.weighting.average(fields.images)
    errors = [
        np.mean((image - truth)[held_out.mask] ** 2)
        for image in (mean, ndimage.gaussian_filter(mean, (0, 1, 1)))
    ]
    assert errors[0] == pytest.approx(fields.average_noise_sd**2, rel=0.12)
    assert stack.risks[1] == pytest.approx(float(errors[1] - errors[0]), abs=0.2 * float(errors[0]))


@needs_weights
def test_no_grid_and_no_cross_hatching():
    """On a flat field, waves at the periods of the strided layers stay below 1/500 of the noise SD."""
    repetitions = exposures(np.full((192, 192, 1, 1), 20.0))
    strategy, settings = short("recorrupted", SHIPPED)
    denoised = strategy.denoise(repetitions, settings, context()).data[..., 0, 0]
    noise_sd = 2 * np.sqrt(20.0)
    assert 0.2 * noise_sd > (denoised - 90).std()
    amplitude = 2 * np.abs(np.fft.rfft2(denoised - denoised.mean())) / denoised.size
    # Periods of 4 and 2 pixels along the axes, and their crossings.
    waves = amplitude[np.ix_((0, 48, 96), (0, 48, 96))].ravel()[1:]
    assert waves.max() < noise_sd / 500


def test_saturated_areas_keep_their_mean():
    """They are outside the mask, and nothing is learned from them; single pixels are denoised as others."""
    expected = scene(size=64)[..., None, None]
    expected[20:30, 20:36] = 60
    repetitions = exposures(expected)
    data = np.minimum(repetitions.data, 125)
    mask = (data < 125).all(axis=(0, -1))
    strategy, settings = short("recorrupted")
    denoised = strategy.denoise(replace(repetitions, data=data, mask=mask), settings, context())
    area = np.zeros_like(mask)
    area[20:30, 20:36] = True
    assert (~mask)[area].mean() > 0.9 and 0.002 < (~mask)[~area].mean() < 0.1
    kept = area & ~mask
    np.testing.assert_allclose(denoised.data[kept], data.mean(axis=0)[kept], rtol=1e-6)
    singles = ~area & ~mask
    assert np.mean(denoised.data[singles] != data.mean(axis=0)[singles]) > 0.5


def test_padding_says_nothing_of_the_noise():
    """A black border around a camera with a black level: gain, offset and level as without it."""
    repetitions = exposures(scene()[..., None, None])
    data = np.zeros((2, 128, 128, 1, 1), np.float32)
    data[:, 16:-16, 16:-16] = repetitions.data
    padded = Repetitions(data, np.ones((128, 128, 1), bool), micrograph=True)
    strategy, settings = short("recorrupted")
    results = [strategy.denoise(one, settings, context()) for one in (repetitions, padded)]
    noise, with_border = (result.record.counting_noise[0] for result in results)
    assert (with_border.gain, with_border.offset) == pytest.approx((noise.gain, noise.offset), rel=0.05)
    assert not results[1].data[:16].any()
    assert results[1].noise_sd[20:-20, 20:-20].mean() == pytest.approx(results[0].noise_sd.mean(), rel=0.05)


@pytest.mark.slow
@needs_weights
@pytest.mark.parametrize("name", ["recorrupted", "auto"])
@pytest.mark.parametrize(("n_shown", "most_left"), [(1.0, 0.65), (0.2, 0.45)])
def test_what_one_exposure_alone_shows_is_denoised_too(name, n_shown, most_left):
    """A strip that the second exposure drifted away from, where it holds the values of the first.

    Of a sum of frames a part may have been measured there: it has more noise, and more is taken away.
    """
    expected = scene(size=128)[..., None, None]
    repetitions = exposures(expected)
    data, n_measured = repetitions.data.copy(), np.full((128, 128, 1), 2, np.float32)
    clean = (2 * expected + 50)[:12]
    data[:, :12] = clean + (data[0, :12] - clean) / np.sqrt(n_shown)
    n_measured[:12] = n_shown
    drifted = replace(repetitions, data=data, mask=n_measured == 2, n_measured=n_measured)
    strategy, settings = short(name, SHIPPED)
    denoised = strategy.denoise(drifted, settings, context()).data
    errors = [np.std(image[:12] - clean) for image in (data[0], denoised)]
    assert errors[1] < most_left * errors[0]


def test_copies_give_up_with_a_reason():
    """Two copies of one exposure do not differ."""
    repetitions = exposures(scene(size=48)[..., None, None])
    copies = np.repeat(repetitions.data[:1], 2, axis=0)
    strategy, settings = short("auto")
    with pytest.raises(ValueError, match="copies"):
        strategy.denoise(replace(repetitions, data=copies), settings, context())


@needs_weights
def test_no_seam_shows_where_tiles_of_the_network_meet(monkeypatch):
    """A blend as `auto` keeps it, in tiles of 128 pixels: every pixel as in one piece."""
    data = exposures(scene(size=448)[:, :160, None, None]).data[..., 0]
    scale = StableScale(CountingNoise(2.0, -100.0), 9.0, 2.0)
    network = context().new_network("resunet-2d", SHIPPED)
    blended = [PlaneCandidate("network", network), PlaneCandidate("means", network, keep_local_means=True)]
    method = PlaneEstimator(context(), FLIPS[1:3]).blend(blended, np.array([0.6, 0.4]), 0.3)
    whole = denoise_planes(data, scale, method, equal_weights(2))
    for name in ("_LARGEST_EDGE", "_SMALLEST_EDGE"):
        monkeypatch.setattr(planes, name, 128)
    tiled = denoise_planes(data, scale, method, equal_weights(2))
    difference = np.abs(tiled - whole)[..., 0]
    assert difference.max() < 0.02 * data.std(axis=0).mean()
