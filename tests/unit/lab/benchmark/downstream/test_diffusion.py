"""Maps and one bundle of a drawn series: straight, bent and disturbed fibres."""

import numpy as np
import pytest

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.errors import ConfigError
from n2a_bids.lab.benchmark.downstream.analyses import score
from n2a_bids.lab.benchmark.downstream.diffusion import diffusion_analysis, find_seeds, track
from n2a_bids.lab.benchmark.dwi.phantoms import Truth

SHAPE, SIZE_MM = (24, 20, 6), (2.0, 2.0, 2.5)
RADIAL, AXIAL = 0.3e-3, 1.6e-3


def rod(shape=SHAPE):
    """A rod along the first axis."""
    inside = np.zeros(shape, bool)
    inside[2:22, 8:12, 2:4] = True
    return inside


def test_streamlines_follow_a_rod_to_its_ends():
    fa = np.where(rod(), 0.7, 0.05)
    directions = np.zeros((*SHAPE, 3))
    directions[..., 0] = -1
    seeds = find_seeds(fa)
    assert np.ptp(seeds[:, 0]) == 0.5 and len(seeds) == 8 * 8
    visited = track(fa, directions, seeds, SIZE_MM)
    assert np.count_nonzero(visited & rod()) > 0.9 * np.count_nonzero(rod())
    assert not (visited & ~rod()).any()
    assert np.array_equal(visited, track(fa, -directions, seeds, SIZE_MM))


def test_streamlines_do_not_turn_sharply():
    """A direction that turns by 90 degrees ends them."""
    fa = np.where(rod(), 0.7, 0.05)
    directions = np.zeros((*SHAPE, 3))
    directions[..., 0] = 1
    directions[16:] = (0, 1, 0)
    visited = track(fa, directions, find_seeds(fa), SIZE_MM)
    assert visited[:15].any() and not visited[18:].any()


def test_no_bundle_is_named():
    with pytest.raises(ConfigError, match="bundle"):
        find_seeds(np.full(SHAPE, 0.1))


@pytest.fixture(scope="module")
def truth():
    """A rod of fibres along the first axis of an image that is stored turned in the world."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((24, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    bvals = np.r_[np.zeros(2), np.full(24, 1000.0)]
    gradients = Gradients(bvals, np.r_[np.zeros((2, 3)), directions])
    axes = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    along = axes[:, 0]
    cosine2 = np.r_[np.zeros(2), (directions @ along) ** 2]
    fibre = np.exp(-bvals * (RADIAL + (AXIAL - RADIAL) * cosine2))
    round_signal = np.exp(-bvals * 0.8e-3)
    signal = np.where(rod()[..., None], fibre, round_signal).astype(np.float32) * 100
    return Truth("rod", signal, gradients, np.ones(SHAPE, bool), SIZE_MM), axes


def test_bundle_is_found_in_an_image_that_is_stored_turned(truth):
    """Main directions are in the world, streamlines run along the axes of the array."""
    one, axes = truth
    maps = diffusion_analysis(one, axes).analyse(one.signal)
    assert np.count_nonzero(maps.bundle & rod()) > 0.9 * np.count_nonzero(rod())
    wrong = diffusion_analysis(one, np.eye(3)).analyse(one.signal)
    assert np.count_nonzero(wrong.bundle) < 0.5 * np.count_nonzero(rod())


def test_noise_makes_errors_and_averaging_takes_them_away(truth):
    one, axes = truth
    analysis, rng = diffusion_analysis(one, axes), np.random.default_rng(1)
    reference = analysis.analyse(one.signal)
    judged = {}
    for sd in (5, 20):
        noisy = [
            np.maximum(one.signal + sd * rng.standard_normal(one.signal.shape), 0.1).astype(np.float32)
            for _ in range(2)
        ]
        judged[sd] = score(analysis, [analysis.analyse(image) for image in noisy], reference)
    assert judged[5].error["bundle_overlap"] < judged[20].error["bundle_overlap"]
    for measure in ("fa", "md", "v1_deg"):
        assert judged[5].error[measure] < judged[20].error[measure]
        assert judged[5].retest[measure] < judged[20].retest[measure]
    assert score(analysis, [reference], reference).error["fa"] == 0
