"""How many plain averages give the same error, found from simulated ladders."""

import numpy as np
import pytest

from n2a_bids.lab.benchmark.downstream.averages import (
    LADDER,
    disjoint_groups,
    equivalent_averages,
    group_means,
)


@pytest.mark.parametrize("count", [1.0, 2.5, 5.0, 16.0])
def test_errors_of_white_noise_are_followed_between_the_means(count):
    """The error of a mean falls with the root of its number: any number between is found."""
    errors = [0.3 / np.sqrt(n) for n in LADDER]
    found = equivalent_averages(LADDER, errors, 0.3 / np.sqrt(count))
    assert found.n_averages == pytest.approx(count, rel=1e-6) and found.bound == ""


def test_errors_beyond_the_means_are_no_extrapolation():
    """The table says "16 or more", and never a number that nobody simulated."""
    errors = [1 / n for n in LADDER]
    assert str(equivalent_averages(LADDER, errors, 0.01)) == "16 or more"
    assert str(equivalent_averages(LADDER, errors, 1.2)) == "1 or fewer"


def test_an_uneven_mean_does_not_mislead():
    """A mean that is worse than one of fewer repetitions by chance makes no second answer."""
    found = equivalent_averages((1, 2, 4, 8), (1.0, 0.52, 0.54, 0.25), 0.7)
    assert 1 < found.n_averages < 2
    assert 4 < equivalent_averages((1, 2, 4, 8), (1.0, 0.52, 0.54, 0.25), 0.5).n_averages < 8


def test_an_error_of_zero_by_chance_does_not_draw_the_others_along():
    found = equivalent_averages((1, 2, 4, 8), (0.4, 0.3, 0.0, 0.1), 0.3)
    assert found.n_averages == pytest.approx(2) and found.bound == ""
    assert equivalent_averages((1, 2, 4, 8), (0.4, 0.3, 0.0, 0.1), 0.0).bound == "at least"


@pytest.mark.parametrize("size", LADDER)
def test_groups_share_no_repetition(size):
    """Two groups of independent noise wherever there are enough."""
    groups = [set(range(*group.indices(16))) for group in disjoint_groups(16, size)]
    assert all(len(group) == size for group in groups)
    assert len(groups) == (2 if size <= 8 else 1)
    assert len(groups) == 1 or not groups[0] & groups[1]


def test_means_of_groups_are_plain():
    values = np.arange(16, dtype=np.float32)[:, None]
    assert [float(mean[0]) for mean in group_means(values, 4)] == [1.5, 5.5]
