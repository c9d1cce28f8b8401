"""The benchmark of a site: brains of the test are judged with both sets of weights, and nothing twice."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.resources import files

import nibabel as nb
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from written_tables import read_rows

from n2a_bids.config import TrainConfig
from n2a_bids.errors import BIDSDataError
from n2a_bids.lab.benchmark.anat import site
from n2a_bids.lab.benchmark.anat.run import BenchmarkPlan
from n2a_bids.lab.benchmark.strategies import MethodSettings
from n2a_bids.lab.benchmark.truths import Truth
from n2a_bids.training.groups import read_groups

METHODS = ("mean", "recorrupted:zero-shot")


@pytest.fixture
def truths() -> list[Truth]:
    """Five clean images."""
    rng, mask = np.random.default_rng(0), np.ones((20, 20, 20), bool)
    fields = [gaussian_filter(rng.standard_normal(mask.shape), 3) for _ in range(5)]
    data = [np.float32(100 + 30 * field / field.std()) for field in fields]
    return [Truth(f"b{index}", image, mask, np.eye(4)) for index, image in enumerate(data)]


@pytest.fixture
def trained(monkeypatch) -> list:
    """Requests for a training that gives the weights that are shipped."""
    requests = []

    def train(request):
        requests.append(request)
        request.out.mkdir(parents=True)
        shipped = files("n2a_bids") / "data" / "weights" / "resunet-t1w.safetensors"
        shutil.copy(shipped, request.out)
        shutil.copy(shipped.with_suffix(".json"), request.out)

    monkeypatch.setattr(site, "run_train", train)
    return requests


@pytest.mark.slow
def test_equal_weights_give_equal_rows(tmp_path, truths, trained):
    """Whatever the training is worth shows in the rows alone; a resumed run trains and judges no more."""
    plan = BenchmarkPlan(tmp_path, METHODS, noise_levels=(0.3,), settings=MethodSettings())
    train = TrainConfig(validation_subjects=1, test_subjects=2)
    assert site.run_site(truths, plan, train) == 0
    rows = read_rows(tmp_path / "site.tsv")
    judged = [row for row in rows if row["method"] != "training"]
    assert len(judged) == 2 * 2 * len(METHODS)
    for row in judged:
        twin = [r for r in judged if (r["truth"], r["method"]) == (row["truth"], row["method"])]
        assert len({r["psnr_db"] for r in twin}) == 1
    gain = {row["method"]: float(row["psnr_db"]) for row in judged if row["truth"] == judged[0]["truth"]}
    assert gain["recorrupted:zero-shot"] > gain["mean"] + 1
    text = (tmp_path / "site.tsv").read_text()
    assert site.run_site(truths, replace(plan, resume=True), train) == 0
    assert len(trained) == 1
    assert (tmp_path / "site.tsv").read_text() == text


def test_the_pairs_of_the_site_are_what_is_trained_on(tmp_path, truths, trained):
    """Two runs of one brain with noise of their own, within its mask."""
    plan = BenchmarkPlan(tmp_path, ("mean",), noise_levels=(0.3,), settings=MethodSettings())
    site.run_site(truths, plan, TrainConfig(validation_subjects=1, test_subjects=1))
    groups = read_groups(trained[0].groups)
    assert [group.subject for group in groups] == [truth.name for truth in truths]
    noise = [nb.load(run).get_fdata() - truths[0].data for run in groups[0].runs]
    assert [np.std(one) for one in noise] == pytest.approx([9, 9], rel=0.1)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1


def test_two_brains_are_no_site(tmp_path, truths):
    """One to learn from, one for the epoch and one for the test."""
    plan = BenchmarkPlan(tmp_path, ("mean",), settings=MethodSettings())
    with pytest.raises(BIDSDataError, match="at least 3 subjects"):
        site.run_site(truths[:2], plan, TrainConfig())
