"""Slices that lost signal are found; anatomy, contrast and noise are no loss."""

import numpy as np
import pytest
from dwi_dataset import NOISE_SD, head
from small_dataset import head_phantom

from n2a_bids.algorithms.quality.dark_slices import find_dark_slices


@pytest.fixture(scope="module")
def series():
    """Noisy volumes of a head of fibres, and their b-values."""
    truth, table = head()
    real, imaginary = NOISE_SD * np.random.default_rng(0).standard_normal((2, *truth.shape))
    return np.hypot(truth + real, imaginary).astype(np.float32), table.bvals


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("unit", [1.0, 1e-4])
def test_whole_series_has_none(series, axis, unit):
    """Along the slices or across, whatever the unit of the image."""
    assert find_dark_slices(unit * series[0], axis, series[1]) == []


@pytest.mark.parametrize("volume", [0, 9])
def test_dropout_of_one_volume_is_found(series, volume):
    """With what remains; also of one of two b0s, and where a volume lost two slices."""
    data = series[0].copy()
    data[:, :, 6, volume] *= 0.2
    data[:, :, 9, volume] *= 0.5
    found = find_dark_slices(data, 2, series[1])
    assert [(one.volume, one.index) for one in found] == [(volume, 6), (volume, 9)]
    assert [one.remaining for one in found] == pytest.approx([0.2, 0.5], abs=0.1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_dark_slice_of_one_head_is_found(axis):
    """A head that was not repeated tells it by its neighbours alone; a whole one has none."""
    image = head_phantom()[0].astype(np.float32)
    image += np.abs(np.random.default_rng(0).normal(0, 0.02 * image.max(), image.shape)).astype(np.float32)
    assert find_dark_slices(image[..., None], axis, [0]) == []
    middle = image.shape[axis] // 2
    np.moveaxis(image, axis, 0)[middle] *= 0.3
    (found,) = find_dark_slices(image[..., None], axis, [0])
    assert (found.volume, found.index) == (0, middle) and found.remaining < 0.5


@pytest.mark.parametrize(
    ("volume", "slices"),
    [(9, range(5, 8)), (0, range(4, 9)), (9, range(7, 12)), (9, range(2, 7))],
    ids=["three", "five of a b0", "upper half", "lower half"],
)
@pytest.mark.parametrize("left", [0.0, 0.2])
def test_slab_is_found_whole(series, volume, slices, left):
    """Within it, slices differ from those beside them in nothing; also to the end of the head."""
    data = series[0].copy()
    data[:, :, slices.start : slices.stop, volume] *= left
    found = find_dark_slices(data, 2, series[1])
    assert [(one.volume, one.index) for one in found] == [(volume, index) for index in slices]
    assert all(one.remaining < 0.5 for one in found)


def test_every_other_slice_is_found(series):
    """As of an interleaved acquisition; those between are whole."""
    data = series[0].copy()
    data[:, :, 3:11:2, 9] *= 0.2
    assert [one.index for one in find_dark_slices(data, 2, series[1])] == [3, 5, 7, 9]


@pytest.mark.parametrize("n_lost", [3, 4])
def test_slice_that_most_b0s_lost_is_no_anatomy(series, n_lost):
    """The weighted volumes show it whole; where these are dark too, it is anatomy."""
    data, bvals = series
    many = np.concatenate((data[..., :2], data[..., :2], data[..., 2:]), axis=-1)
    shells = np.concatenate((bvals[:2], bvals))
    many[:, :, 6, :n_lost] *= 0.2
    found = find_dark_slices(many, 2, shells)
    assert [(one.volume, one.index) for one in found] == [(index, 6) for index in range(n_lost)]
    many[:, :, 6, 4:] *= 0.2
    assert [one.volume for one in find_dark_slices(many, 2, shells)] == []


def test_nothing_to_see_is_no_loss():
    """Air, two slices, or one value everywhere."""
    assert find_dark_slices(np.zeros((8, 8, 8, 3), np.float32), 2, [0, 0, 0]) == []
    assert find_dark_slices(np.ones((8, 8, 2, 1), np.float32), 2, [0]) == []
