"""Ways to bring a moved repetition to the first one."""

import numpy as np
import pytest
from written_tables import read_rows

from n2a_bids.lab.benchmark.anat.interpolation import WAYS, run_interpolation
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan
from n2a_bids.lab.benchmark.truths import Truth


@pytest.mark.slow
def test_every_way_is_measured_once_and_rows_are_kept(head, tmp_path):
    """All ways see the same runs; the true transform has no error; a second call adds nothing."""
    image, mask = head
    truth = Truth("head", image, mask, np.diag([-2.0, 2.0, 2.0, 1.0]))
    plan = BenchmarkPlan(tmp_path, (), noise_levels=(0.2,), crop=(24, 24, 24), resume=True)
    assert run_interpolation([truth], plan) == 0
    rows = {row["way"]: row for row in read_rows(tmp_path / "interpolation.tsv")}
    assert list(rows) == list(WAYS)
    errors = {way: float(row["registration_error_mm"]) for way, row in rows.items()}
    assert errors["true transform"] == 0 < errors["app"] < 0.5
    psnr = {way: float(row["psnr_db"]) for way, row in rows.items()}
    assert psnr["trilinear"] < psnr["app"]
    before = (tmp_path / "interpolation.tsv").stat().st_mtime_ns
    assert run_interpolation([truth], plan) == 0
    assert (tmp_path / "interpolation.tsv").stat().st_mtime_ns == before
