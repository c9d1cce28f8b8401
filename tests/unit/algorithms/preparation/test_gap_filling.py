"""Laws of gaps in diffusion series: mended in each volume by itself, and nothing else touched."""

import numpy as np
import pytest

from n2a_bids.algorithms.preparation.gap_filling import mend_series

VOXEL_MM = (4.0, 4.0, 4.0)
SPECKS = ((2, 3), (3, 40), (4, 20))


@pytest.fixture
def series(noisy_runs):
    """(X, Y, Z, 3): a b0 and two volumes of a tenth of its signal."""
    runs = noisy_runs(3, noise_sd=20)
    return np.stack([runs[0], *(run / 10 for run in runs[1:])], axis=-1).astype(np.float32)


@pytest.mark.parametrize("value", [32767, -32768, np.nan, np.inf, 1e30])
@pytest.mark.parametrize("index", [0, 2])
def test_specks_of_one_volume_become_like_their_surroundings(series, value, index):
    """In air and in the head; the other volumes, and all other voxels, stay as they are."""
    broken = series.copy()
    broken[SPECKS[0], SPECKS[1], SPECKS[2], index] = value
    broken[series.shape[0] // 2, series.shape[1] // 2, series.shape[2] // 2, index] = value
    touched = broken != series
    found = mend_series(broken, VOXEL_MM)
    assert found.size == np.count_nonzero(touched)
    np.testing.assert_array_equal(broken[~touched], series[~touched])
    assert np.abs(broken[touched] - series[touched]).max() < 0.5 * series[..., index].max()


def test_whole_series_are_left_as_they_are(series):
    """Real-valued ones and masked ones, too."""
    centred = series - 40
    masked = np.where(series > 100, series, 0)
    for whole in (series, centred, masked):
        mended = whole.copy()
        assert not mend_series(mended, VOXEL_MM, (-32768, 32767)).size
        np.testing.assert_array_equal(mended, whole)


@pytest.mark.parametrize("value", [-1024, np.nan])
def test_what_was_filled_is_zero_as_in_a_masked_series(series, value):
    """Interpolation continues masked series beyond their border; a volume of NaN is an empty one."""
    broken = series.copy()
    broken[:, :, :10] = value
    broken[..., 2] = np.nan
    assert not mend_series(broken, VOXEL_MM).size
    assert not broken[:, :, :10].any()
    assert not broken[..., 2].any()
    np.testing.assert_array_equal(broken[:, :, 10:, :2], series[:, :, 10:, :2])


def test_nan_around_a_brain_is_zero_though_its_darkest_voxel_lies_beside(series):
    """That voxel keeps its value, and does not fill the area with it."""
    brain = np.zeros(series.shape[:3], bool)
    brain[10:-10, 10:-10, 10:-10] = True
    whole = series + 50
    whole[20, 22, 18] = 40  # in the other volumes the darkest voxel lies inside
    broken = np.where(brain[..., None], whole, np.float32(np.nan))
    broken[10, 20, 20, 1] = whole[10, 20, 20, 1] = 20
    mend_series(broken, VOXEL_MM)
    assert not broken[~brain].any()
    np.testing.assert_array_equal(broken[brain], whole[brain])
