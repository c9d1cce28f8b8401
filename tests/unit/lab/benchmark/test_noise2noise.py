"""Laws of the tables of Noise2Noise: noise without bias, k-space that is kept, rows that are resumed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.lab.benchmark.config import BenchmarkConfig
from n2a_bids.lab.benchmark.noise2noise.config import Noise2NoiseConfig
from n2a_bids.lab.benchmark.noise2noise.images import (
    PHOTOGRAPH_NOISE,
    density,
    draw_samples,
    load_photographs,
    undersample,
)
from n2a_bids.lab.benchmark.noise2noise.networks import ConsistentUNet
from n2a_bids.lab.benchmark.noise2noise.run import run_noise2noise

EDGE = 16


def _image(seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (EDGE, EDGE)).astype(np.float32)


def test_a_tenth_of_the_samples_is_drawn_in_conjugate_pairs():
    """As often as the density says, so that images stay real."""
    rng = np.random.default_rng(1)
    drawn = np.stack([draw_samples(EDGE, rng) for _ in range(2000)])
    assert abs(drawn.mean() - 0.1) < 0.01
    assert np.abs(drawn.mean(axis=0) - density(EDGE)).max() < 0.05
    mirror = np.roll(drawn[:, ::-1, ::-1], (1, 1), (1, 2))
    assert np.array_equal(drawn, mirror)


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda clean, rng: undersample(clean[0], rng)[0][None],
        lambda clean, rng: PHOTOGRAPH_NOISE["gaussian"].add(clean, 50, rng),
        lambda clean, rng: PHOTOGRAPH_NOISE["poisson"].add(clean, 30, rng),
    ],
    ids=["k-space", "gaussian", "poisson"],
)
def test_noise_has_no_bias(corrupt):
    """The mean of many noisy images is the clean one: what training with noisy targets needs."""
    clean, rng = _image()[None], np.random.default_rng(2)
    draws = np.stack([corrupt(clean, rng) for _ in range(4000)])
    z_scores = (draws.mean(axis=0) - clean) / (draws.std(axis=0) / np.sqrt(len(draws)) + 1e-6)
    assert abs(z_scores).max() < 5


@pytest.mark.parametrize("kind", PHOTOGRAPH_NOISE.values(), ids=PHOTOGRAPH_NOISE)
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_crops_count_by_the_noise_that_they_have(kind, share):
    """The weight knows the level alone, not the noise that was drawn: nothing is biased by it."""
    clean, rng, level = np.full((1, 64, 64), -0.1, np.float32), np.random.default_rng(4), share * kind.largest
    noise = kind.add(clean, level, rng) - clean
    assert kind.variance(level) == pytest.approx(noise.var(), rel=0.1)
    quieter, noisier = sorted((kind.weight(level), kind.weight(level / 2)), reverse=True)
    assert 0 < noisier < quieter < 1
    assert (kind.variance(level) > kind.variance(level / 2)) == (kind.weight(level) < kind.weight(level / 2))


def test_measured_samples_are_put_back():
    """Whatever the network says, the spectrum holds what was measured."""
    image, samples, drawn = undersample(_image(), np.random.default_rng(3))
    network = ConsistentUNet(4)
    torch.nn.init.normal_(network.inner.tail.weight)
    parts = torch.from_numpy(np.stack((samples.real, samples.imag))[None].astype(np.float32))
    mask = torch.from_numpy(drawn[None, None].astype(np.float32))
    tensor = torch.from_numpy(image[None, None])
    restored = (tensor + network(tensor, parts, mask))[0, 0].detach().numpy()
    assert np.allclose(np.fft.fft2(restored)[drawn], samples[drawn], atol=1e-3)


@pytest.fixture
def photographs(tmp_path):
    """Two small photographs."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 256, (26, 22, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_rows_are_resumed_and_tell_published_figures(photographs, tmp_path):
    """A finished row is not computed again, and other settings are refused in the same folder."""
    asked = Noise2NoiseConfig(
        noise=("gaussian", "poisson"),
        training_images=photographs,
        test_images={"kodak": photographs},
        steps=2,
        batch=2,
        crop=16,
        width=4,
    )
    config = BenchmarkConfig(out=tmp_path / "out", noise2noise=asked)
    assert run_noise2noise(config) == 0
    table = tmp_path / "out" / "noise2noise.tsv"
    text, written = table.read_text(), table.stat().st_mtime_ns
    header, *rows = (line.split("\t") for line in text.splitlines())
    row = dict(zip(header, rows[0], strict=True))
    assert (row["noise"], row["n_images"], row["published_noisy_db"]) == ("gaussian", "2", "32.39")
    difference = float(row["noisy_targets_db"]) - float(row["clean_targets_db"])
    assert abs(float(row["difference_db"]) - difference) < 0.002
    run_noise2noise(config)
    assert table.stat().st_mtime_ns == written
    for changed, word in (({"steps": 3}, "steps"), ({"training_images": tmp_path}, "training_images")):
        with pytest.raises(ConfigError, match=word):
            run_noise2noise(BenchmarkConfig(out=tmp_path / "out", noise2noise=replace(asked, **changed)))


def test_missing_images_are_named(tmp_path):
    """What to give is said."""
    for noise, words in (("gaussian", "--training-images"), ("mri", "--truth")):
        asked = Noise2NoiseConfig(noise=(noise,))
        with pytest.raises(ConfigError, match=words):
            run_noise2noise(BenchmarkConfig(out=tmp_path / noise, noise2noise=asked))
    with pytest.raises(BIDSDataError, match="folder of photographs"):
        load_photographs(tmp_path)
