"""Laws of lesions, uniform objects and second echoes."""

import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.lab.simulation.lesions import ball_mask, kept_contrast, make_lesions, second_echo

MASK = ball_mask((40, 40, 40), 0.9)


def test_lesions_lie_inside_the_mask_and_apart():
    lesions = make_lesions(MASK, 5.0, np.random.default_rng(0), n_lesions=3)
    assert len(lesions.centres) == 3
    assert not np.any(lesions.signal[~MASK])
    assert ndimage.label(lesions.signal > 0)[1] == 3
    assert lesions.signal.max() == pytest.approx(5)
    assert set(np.unique(lesions.cores)) == {0, 1, 2, 3}


def test_lesion_radius_is_in_mm():
    fine = make_lesions(MASK, 1.0, np.random.default_rng(0), 1, 2.5, (1.0, 1.0, 1.0))
    coarse = make_lesions(MASK, 1.0, np.random.default_rng(0), 1, 2.5, (2.0, 1.0, 1.0))
    assert np.count_nonzero(coarse.cores) < 0.75 * np.count_nonzero(fine.cores)


def test_no_room_for_a_lesion_is_an_error():
    with pytest.raises(ValueError, match="no room"):
        make_lesions(ball_mask((8, 8, 8)), 1.0, np.random.default_rng(0))


def test_kept_contrast_is_one_for_the_identity_and_half_for_half():
    lesions = make_lesions(MASK, -4.0, np.random.default_rng(1), n_lesions=2)
    background = np.random.default_rng(2).standard_normal(MASK.shape)
    np.testing.assert_allclose(kept_contrast(background + lesions.signal, background, lesions), 1, rtol=1e-5)
    np.testing.assert_allclose(
        kept_contrast(background + lesions.signal / 2, background, lesions), 0.5, rtol=1e-5
    )


def test_second_echo_keeps_the_anatomy_but_not_the_contrast():
    rng = np.random.default_rng(3)
    first = 100 + 20 * ndimage.gaussian_filter(rng.standard_normal(MASK.shape), 2) / 0.06
    first = np.maximum(first, 0)
    later = second_echo(first, MASK, 0.005, rng)
    assert np.all(later <= first + 1e-4)
    slope, offset = np.polyfit(first[MASK], later[MASK], 1)
    assert np.corrcoef(first[MASK], later[MASK])[0, 1] > 0.9
    assert np.std(later[MASK] - slope * first[MASK] - offset) > 0.01 * later[MASK].std()


def test_no_delay_gives_the_same_echo():
    first = np.full(MASK.shape, 50.0)
    np.testing.assert_allclose(second_echo(first, MASK, 0.0, np.random.default_rng(0)), first)
