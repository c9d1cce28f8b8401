"""Expected errors against true ones."""

import numpy as np
import pytest
from written_tables import read_rows

from n2a_bids.errors import ConfigError
from n2a_bids.lab.benchmark.anat.calibration import measure_calibration, run_calibration
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan
from n2a_bids.lab.benchmark.truths import Truth


def test_what_is_expected_too_low_is_seen_in_its_decile():
    """Half of the variance expected where it is largest: the last decile says 0.5, the others 1."""
    rng = np.random.default_rng(0)
    sd = np.repeat(np.linspace(1, 3, 10), 40_000)
    expected = np.where(sd == 3, np.sqrt(9 / 2), sd)
    found = measure_calibration(sd * rng.standard_normal(sd.size), np.where(sd == 3, 10, expected))
    assert found.deciles[-1] == pytest.approx(100 / 9, rel=0.05)
    assert found.deciles[:-1] == pytest.approx(np.ones(9), abs=0.05)
    assert found.coverage == pytest.approx(0.91, abs=0.005)


@pytest.mark.slow
def test_expected_errors_of_auto_are_near_the_true_ones(head, tmp_path):
    """Without training, in a small box; a second call adds nothing, and the mean has no row."""
    image, mask = head
    truth = Truth("head", image, mask, np.diag([-2.0, 2.0, 2.0, 1.0]))
    plan = BenchmarkPlan(tmp_path, ("mean", "auto:fast+zero-shot"), crop=(32, 32, 32), resume=True)
    assert run_calibration([truth], plan) == 0
    (row,) = read_rows(tmp_path / "calibration.tsv")
    assert float(row["expected_rmse"]) == pytest.approx(float(row["rmse"]), rel=0.25)
    assert 0.8 < float(row["coverage_90"]) < 0.97
    before = (tmp_path / "calibration.tsv").stat().st_mtime_ns
    assert run_calibration([truth], plan) == 0
    assert (tmp_path / "calibration.tsv").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="tells its error"):
        run_calibration([truth], BenchmarkPlan(tmp_path / "other", ("mean",)))
