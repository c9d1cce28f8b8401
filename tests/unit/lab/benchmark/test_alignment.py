"""Simulated movement is undone by the app's alignment."""

import numpy as np

from n2a_bids.algorithms.quality.metrics import nrmse
from n2a_bids.lab.benchmark.anat.alignment import align_runs
from n2a_bids.lab.simulation.runs import SimulationConfig, simulate_runs


def test_moved_runs_come_back_without_knowing_the_transform(head):
    image, mask = head
    affine = np.diag([-2.0, 2, 2, 1])
    config = SimulationConfig(noise_level=0.05, max_rotation_deg=4, max_translation_mm=4)
    runs = simulate_runs(image, mask, config, np.random.default_rng(3), (2.0, 2.0, 2.0))
    aligned = align_runs(runs, affine)
    np.testing.assert_array_equal(aligned[0], runs.repetitions[0])
    before, after = (nrmse(run, image, mask) for run in (runs.repetitions[1], aligned[1]))
    assert after < 0.3 * before
