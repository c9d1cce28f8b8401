"""Tissues of a small brain, and what tells two segmentations apart."""

import numpy as np
import pytest

from n2a_bids.errors import DenoisingError
from n2a_bids.lab.benchmark.downstream.analyses import score
from n2a_bids.lab.benchmark.downstream.tissues import compare_tissues, segment, tissue_analysis

SIZE_MM = (1.0, 1.0, 2.0)


@pytest.fixture(scope="module")
def brain():
    """Three shells, the brightest inside, and their masks."""
    distance = np.linalg.norm(np.indices((24, 24, 24)) - 11.5, axis=0)
    shells = [distance < radius for radius in (11, 9, 6)]
    return np.sum(shells, axis=0).astype(np.float32) * 300, shells


def noisy(brain, sd, seed):
    image, shells = brain
    noise = np.random.default_rng(seed).standard_normal(image.shape) * sd
    return (image + noise * shells[0]).astype(np.float32)


def test_an_image_without_tissues_is_named(brain):
    with pytest.raises(DenoisingError, match="three tissues"):
        segment(brain[1][0].astype(np.float32), brain[1][0], SIZE_MM)


def test_tissues_are_ordered_and_measured_in_millilitres(brain):
    image, shells = noisy(brain, 5, 0), brain[1]
    found = segment(image, shells[0], SIZE_MM)
    inside = [np.count_nonzero(shell) for shell in shells]
    expected = [inside[0] - inside[1], inside[1] - inside[2], inside[2]]
    assert [np.count_nonzero(found.labels == n) for n in (1, 2, 3)] == expected
    assert found.volumes_ml == pytest.approx(np.multiply(expected, 0.002), rel=0.02)
    assert not found.labels[~shells[0]].any()


def test_unit_of_the_intensities_changes_no_label(brain):
    image, shells = noisy(brain, 60, 0), brain[1]
    one, other = (segment(image * factor, shells[0], SIZE_MM) for factor in (1, 0.01))
    assert compare_tissues(one, other)["gm_overlap"] < 1e-3


def test_noise_makes_errors_and_averaging_takes_them_away(brain):
    """More noise, more error against the truth and between two images; agreement is 0."""
    shells = brain[1]
    analysis = tissue_analysis(brain[1][0], SIZE_MM)
    truth = segment(noisy(brain, 5, 0), shells[0], SIZE_MM)
    judged = {
        sd: score(analysis, [segment(noisy(brain, sd, n), shells[0], SIZE_MM) for n in (1, 2)], truth)
        for sd in (60, 150)
    }
    for measure in ("gm_overlap", "wm_overlap"):
        assert 0 <= judged[60].error[measure] < judged[150].error[measure]
        assert judged[60].retest[measure] < judged[150].retest[measure]
    assert set(score(analysis, [truth], truth).error.values()) == {0.0}
    assert score(analysis, [truth], truth).retest == {}
