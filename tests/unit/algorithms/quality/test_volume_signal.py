"""Volumes whose signal does not fit their b-value are found; direction, noise and drift are no reason."""

import numpy as np
import pytest
from dwi_dataset import NOISE_SD, head

from n2a_bids.algorithms.quality.volume_signal import (
    lacks_contrast,
    signal_of_volumes,
    unlike_b0s,
    unlike_shell,
)


@pytest.fixture(scope="module")
def series():
    """Noisy volumes of a head of fibres, and their b-values."""
    truth, table = head()
    real, imaginary = NOISE_SD * np.random.default_rng(0).standard_normal((2, *truth.shape))
    return np.hypot(truth + real, imaginary).astype(np.float32), table.bvals


def _found(data, bvals):
    signal = signal_of_volumes(data)
    return (
        [one.volume for one in unlike_b0s(signal, bvals)],
        [one.volume for one in unlike_shell(signal, bvals)],
        lacks_contrast(signal, bvals),
    )


@pytest.mark.parametrize("unit", [1.0, 1e-4])
def test_a_sound_series_has_none(series, unit):
    """Whatever its unit, and where the scanner drifts by a tenth."""
    data, bvals = series
    assert _found(unit * data * np.linspace(1, 0.9, len(bvals), dtype=np.float32), bvals) == ([], [], False)


@pytest.mark.parametrize("n_b0", [1, 2])
@pytest.mark.parametrize("kind", ["trace", "adc"])
def test_a_map_that_was_stored_as_b0_is_found(series, n_b0, kind):
    """Appended at the end, with b=0: beside one b0 and beside two."""
    data, bvals = series
    b0s, weighted = np.flatnonzero(bvals == 0)[:n_b0], np.flatnonzero(bvals > 0)
    trace = data[..., weighted].mean(axis=-1)
    b0 = data[..., b0s].mean(axis=-1)
    adc = 4095 * np.clip(np.log(np.maximum(b0, 1e-3) / np.maximum(trace, 1e-3)), 0, 4)
    volumes = np.concatenate(
        (data[..., np.r_[b0s, weighted]], (trace if kind == "trace" else adc)[..., None]), -1
    )
    table = np.r_[bvals[np.r_[b0s, weighted]], 0.0]
    assert _found(volumes, table)[0] == [len(table) - 1]


def test_a_table_in_another_order_is_found(series):
    """Two lines changed places: the b0 that counts as weighted, and the weighted volume that counts as b0."""
    data, bvals = series
    b0, weighted = int(np.flatnonzero(bvals == 0)[-1]), int(np.flatnonzero(bvals > 0)[3])
    swapped = bvals.copy()
    swapped[[b0, weighted]] = swapped[[weighted, b0]]
    assert _found(data, swapped)[:2] == ([weighted], [b0])


def test_b0s_no_brighter_than_weighted_volumes_are_found(series):
    """The table of another series; with low b-values alone nothing can be said."""
    data, bvals = series
    alike = data[..., np.flatnonzero(bvals > 0)]
    table = np.where(np.arange(alike.shape[-1]) % 2 == 0, 0.0, 1000.0)
    assert _found(alike, table)[2]
    assert not _found(alike, table / 10)[2]


def test_lost_signal_of_a_whole_volume_is_found(series):
    """As the head moves; what is left is told."""
    data, bvals = series[0].copy(), series[1]
    data[..., -1] *= 0.2
    (one,) = unlike_shell(signal_of_volumes(data), bvals)
    assert one.volume == len(bvals) - 1 and one.ratio == pytest.approx(0.2, abs=0.1)
