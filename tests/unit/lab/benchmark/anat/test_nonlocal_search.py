"""What mirror images and non-local Bayes add to the network."""

import numpy as np
from written_tables import read_rows

from n2a_bids.lab.benchmark.anat.nonlocal_search import VARIANTS, run_nonlocal
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan
from n2a_bids.lab.benchmark.truths import Truth


def test_every_variant_is_measured_once_and_helps(head, tmp_path):
    """Two passes beat the network that guides them; a second call adds nothing."""
    image, mask = head
    truth = Truth("head", image, mask, np.diag([-2.0, 2.0, 2.0, 1.0]))
    plan = BenchmarkPlan(
        tmp_path, (), ("aligned",), noise_levels=(0.4,), repetitions=(2,), crop=(24, 24, 24), resume=True
    )
    assert run_nonlocal([truth], plan) == 0
    rows = {row["variant"]: row for row in read_rows(tmp_path / "nonlocal.tsv")}
    assert list(rows) == list(VARIANTS)
    psnr = {variant: float(row["psnr_db"]) for variant, row in rows.items()}
    assert psnr["then non-local Bayes, passes: 2"] > psnr["network, 2 mirror images"]
    before = (tmp_path / "nonlocal.tsv").stat().st_mtime_ns
    assert run_nonlocal([truth], plan) == 0
    assert (tmp_path / "nonlocal.tsv").stat().st_mtime_ns == before
