"""``n2a-tools benchmark --pair``: real repetitions, scored without a truth."""

import nibabel as nib
import numpy as np
import pytest
from written_tables import read_rows

from n2a_bids.cli.tools import main
from n2a_bids.lab.benchmark.truths import crop_truth, template_truth
from n2a_bids.lab.simulation.runs import SimulationConfig, simulate_runs

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(tmp_path):
    """Files of two aligned noisy runs, the second with another gain, and of their mask."""
    truth = crop_truth(template_truth(), (32, 30, 28))
    runs = simulate_runs(truth.data, truth.mask, SimulationConfig(), np.random.default_rng(1))
    images = {"run-1": runs.repetitions[0], "run-2": 1.2 * runs.repetitions[1], "mask": truth.mask}
    for name, data in images.items():
        nib.Nifti1Image(data.astype(np.float32), truth.affine).to_filename(tmp_path / f"{name}.nii.gz")
    return [tmp_path / f"{name}.nii.gz" for name in images]


def run(tmp_path, pair, *options):
    runs, mask = map(str, pair[:2]), str(pair[2])
    return main(["benchmark", "--out", str(tmp_path / "out"), "--pair", *runs, "--pair-mask", mask, *options])


def test_risk_of_a_real_denoiser_is_below_that_of_the_mean(tmp_path, pair):
    assert run(tmp_path, pair, "--strategies", "mean", "nlmeans") == 0
    rows = {row["method"]: row for row in read_rows(tmp_path / "out" / "pair.tsv")}
    assert float(rows["mean"]["risk"]) == 0
    assert float(rows["nlmeans"]["risk"]) + 2 * float(rows["nlmeans"]["standard_error"]) < 0
    assert float(rows["nlmeans"]["residual_edge_correlation"]) > 0.05


def test_methods_are_compared_with_baselines_block_by_block(tmp_path, pair):
    assert run(tmp_path, pair, "--strategies", "nlmeans", "ants", "auto:zero-shot") == 0
    tables = {}
    for name in ("pair", "differences"):
        tables[name] = read_rows(tmp_path / "out" / f"{name}.tsv")
    risks = {row["method"]: float(row["risk"]) for row in tables["pair"]}
    found = {(row["method"], row["baseline"]): row for row in tables["differences"]}
    assert set(found) == {
        ("nlmeans", "ants"),
        ("ants", "nlmeans"),
        ("auto:zero-shot", "nlmeans"),
        ("auto:zero-shot", "ants"),
    }
    for (method, baseline), row in found.items():
        # Blocks count by their voxels in the mask there, alike here.
        assert float(row["difference"]) == pytest.approx(risks[method] - risks[baseline], rel=0.2, abs=0.002)
        assert float(row["standard_error"]) > 0


def test_repetitions_on_two_grids_are_refused(tmp_path, pair, capsys):
    image = nib.load(pair[1])
    nib.Nifti1Image(np.asarray(image.dataobj)[:-1], image.affine).to_filename(pair[1])
    assert run(tmp_path, pair, "--strategies", "mean") != 0
    assert "run-2.nii.gz" in capsys.readouterr().err


def test_pair_without_mask_is_a_usage_error(tmp_path, pair, capsys):
    assert main(["benchmark", "--out", str(tmp_path / "out"), "--pair", *map(str, pair[:2])]) == 2
    assert "--pair-mask" in capsys.readouterr().err


@pytest.mark.proof
def test_two_real_runs_are_compared_with_themselves(tmp_path, pair):
    """Each run alone, and the pair with noise added twice: averaging two makes what they say more alike."""
    assert run(tmp_path, pair, "--downstream", "--strategies", "nlmeans") == 0
    rows = read_rows(tmp_path / "out" / "downstream-pair.tsv")
    assert {row["status"] for row in rows} == {"ok"}
    retest = {(row["setting"], row["method"], row["measure"]): float(row["retest"]) for row in rows}
    for setting in ("each run alone", "noise added to both"):
        plain, denoised = (retest[setting, method, "gm_overlap"] for method in ("mean", "nlmeans"))
        assert 0 < denoised < plain


def test_denoising_each_run_is_scored_as_well(tmp_path, pair):
    """What fMRIPrep does with every run, averaged: better than the mean, and compared with the others."""
    assert run(tmp_path, pair, "--strategies", "nlmeans", "nlmeans-each") == 0
    rows = {row["method"]: row for row in read_rows(tmp_path / "out" / "pair.tsv")}
    each, of_mean = (float(rows[name]["risk"]) for name in ("nlmeans-each", "nlmeans"))
    assert each + 2 * float(rows["nlmeans-each"]["standard_error"]) < 0
    assert each == pytest.approx(of_mean, rel=0.6)


def test_a_second_run_judges_what_was_made_of_the_first_alone(tmp_path, pair):
    """The gain of real denoisers, without a truth; the run as it is has none."""
    assert run(tmp_path, pair, "--unseen", "--strategies", "nlmeans", "ants") == 0
    rows = {row["method"]: row for row in read_rows(tmp_path / "out" / "unseen.tsv")}
    assert float(rows["mean"]["gain_db"]) == pytest.approx(0, abs=1e-3)
    for name in ("nlmeans", "ants"):
        assert float(rows[name]["removed"]) > 3 * float(rows[name]["removed_error"])
        assert float(rows[name]["gain_db"]) > 1
    leads = {
        (row["method"], row["other"]): float(row["lead"]) for row in read_rows(tmp_path / "out" / "leads.tsv")
    }
    assert leads["nlmeans", "mean"] == pytest.approx(float(rows["nlmeans"]["removed"]), rel=1e-3)
    assert (tmp_path / "out" / "unseen.png").stat().st_size > 10_000


def test_a_copy_cannot_judge(tmp_path, pair, capsys):
    """A second run that shares its noise with the first says nothing."""
    pair[1].write_bytes(pair[0].read_bytes())
    assert run(tmp_path, pair, "--unseen", "--strategies", "nlmeans") != 0
    assert "does not share" in capsys.readouterr().err
