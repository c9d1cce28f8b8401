"""Every condition of the table reaches the methods, and stands in the documentation."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.lab.benchmark.anat.cells import Cell, make_cell_data
from n2a_bids.lab.benchmark.truths import Truth
from n2a_bids.lab.simulation.conditions import CONDITIONS, NAMES, find_condition
from n2a_bids.lab.simulation.lesions import ball_mask

PAGE = Path(__file__).parents[4] / "docs" / "benchmarks" / "method.md"
CROP = (20, 24, 16)


@pytest.fixture(scope="module")
def head():
    """Return a smooth head of 32 mm."""
    mask = ball_mask((40, 40, 40))
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(mask.shape), 2)
    data = ndimage.gaussian_filter(mask.astype(float), 1.5) * (20 + 2 * texture / texture.std())
    return Truth("head", data.astype(np.float32), mask, np.eye(4))


def no_alignment(runs, affine):
    raise AssertionError("repetitions of scanned conditions do not move")


@pytest.mark.parametrize("name", [name for name in NAMES if find_condition(name).is_scanned])
def test_methods_get_noise_of_the_level_of_the_cell_in_the_box(head, name):
    """The noise of the mean against what the scan shows without noise is that which baselines are told."""
    data = make_cell_data(Cell("head", name, 0.4, 2, 0), head, CROP, no_alignment)
    assert data.repetitions.data.shape == (2, *CROP, 1)
    inside = data.repetitions.mask & (data.truth > 10)
    difference = (data.matched[0] - data.matched[1])[inside] / np.sqrt(2)
    if name not in ("sessions", "ghost"):
        assert difference.std() == pytest.approx(data.noise_sd[inside].mean(), rel=0.1)
        assert abs((data.matched.mean(axis=0) - data.truth)[inside].mean()) < 0.3 * difference.std()
    if data.noise_spectrum is not None:
        assert data.noise_spectrum.shape == CROP and data.noise_spectrum.min() >= 0
        assert data.noise_spectrum.mean() == pytest.approx(1, rel=1e-5)


def test_shaded_runs_reach_the_methods_with_one_shading():
    """That of the first run, by which they are judged; what is left between them is noise."""
    mask = ball_mask((48, 48, 48))
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(mask.shape), 2)
    head = Truth("head", (mask * (20 + 2 * texture / texture.std())).astype(np.float32), mask, np.eye(4) * 3)
    data = make_cell_data(Cell("head", "shaded", 0.4, 2, 0), head, None, no_alignment)
    inside = data.repetitions.mask
    first, second = (run[..., 0][inside] for run in data.repetitions.data)
    assert np.ptp(np.percentile(data.truth[inside], (1, 99))) > 1.5 * data.truth[inside].mean()
    level = data.noise_sd[inside].mean()
    assert (second - data.truth[inside]).std() < 1.2 * level
    assert (first - data.truth[inside]).std() == pytest.approx(level, rel=0.05)


def test_documentation_lists_every_condition():
    text = PAGE.read_text(encoding="utf-8")
    for row in CONDITIONS:
        assert f"| `{row.name}` | {row.sentence}" in text, row.name
