"""Zero-filled repetitions are denoised on the matrix that was acquired, and nothing moves on the way."""

import numpy as np
import pytest
import torch
from acquisitions import coloured, kept_kspace

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.preparation.repetitions import prepare, restore
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.acquired_matrix import on_acquired_matrix, on_stored_grid
from n2a_bids.record.denoising import StrategyRecord

SHAPE = (52, 60, 57)
"""Even and odd."""


WHOLE = (slice(None),) * 3


def _prepared(kind, noise_kind=None, box=WHOLE):
    """Two runs of a brain; `noise_kind` where the noise has another k-space than the signal."""
    rng = np.random.default_rng(2)
    kept, noisy = kept_kspace(SHAPE, kind), kept_kspace(SHAPE, noise_kind or kind)
    grids = np.meshgrid(*[np.linspace(-1, 1, size) for size in SHAPE], indexing="ij")
    mask = sum((grid / 0.8) ** 2 for grid in grids) < 1
    clean = np.fft.ifftn(np.fft.fftn(mask * (100 + 30 * rng.standard_normal(SHAPE))) * kept).real
    runs = np.stack([clean + 8 * coloured(noisy, rng).real for _ in range(2)])
    runs = np.ascontiguousarray(runs[(slice(None), *box)][..., None], np.float32)
    return prepare(Repetitions(runs, mask[box]), keep_noise_floor=True), clean[box]


def _context():
    return Context(generator=torch.Generator().manual_seed(0))


def test_zero_filled_runs_go_to_their_matrix_and_come_back():
    """The noise is white there and as strong; the average comes back where and as it was."""
    stored, clean = _prepared("zero-filled by 1.5")
    used = on_acquired_matrix(stored, _context())
    assert used.mask.shape == pytest.approx((52, 40, 38), abs=4)
    white = used.covariance is None or np.abs(used.covariance.along_axes[:, 1]).max() < 0.15
    assert white
    levels = [float(np.median(one.repetition_noise_sd[one.mask])) for one in (stored, used)]
    assert levels[1] == pytest.approx(levels[0], rel=0.05)
    denoised = on_stored_grid(restore(used, used.average, StrategyRecord()), stored, used)
    before = stored.scales[0].invert(stored.average)
    assert denoised.data.shape == (*SHAPE, 1) and denoised.noise_sd.shape == (*SHAPE, 1)
    difference = (denoised.data[..., 0] - before)[stored.mask]
    assert np.abs(difference).mean() < 0.05 * np.std(before[stored.mask] - clean[stored.mask])


def test_runs_cut_to_a_box_after_zero_filling_keep_their_ends():
    """Ends that do not fit together, across the brain: what is lost there is far below the noise."""
    stored, clean = _prepared("zero-filled by 1.5", box=(slice(None), slice(10, 50), slice(None)))
    used = on_acquired_matrix(stored, _context())
    assert used.mask.shape[1] <= 32
    denoised = on_stored_grid(restore(used, used.average, StrategyRecord()), stored, used)
    before = stored.scales[0].invert(stored.average)
    lost, noise = denoised.data[..., 0] - before, before - clean
    for end in (0, -1):
        inside = stored.mask[:, end]
        assert lost[:, end][inside].std() < 0.6 * noise[:, end][inside].std()
    assert lost[stored.mask].std() < 0.2 * noise[stored.mask].std()


@pytest.mark.parametrize("kind", ["white", "partial Fourier 6/8"])
def test_other_runs_stay_as_they_are(kind):
    """White noise, and empty halves that no smaller matrix leaves out: the same object, on the same grid."""
    stored, _ = _prepared(kind)
    assert on_acquired_matrix(stored, _context()) is stored
    denoised = restore(stored, stored.average, StrategyRecord())
    assert on_stored_grid(denoised, stored, stored) is denoised


def test_signal_beyond_the_noise_is_not_cut_off():
    """Filtered noise on a sharp image: k-space is not empty, or the risk says no."""
    stored, _ = _prepared("white", noise_kind="zero-filled by 2")
    assert on_acquired_matrix(stored, _context()) is stored
