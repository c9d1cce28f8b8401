"""``n2a-tools benchmark`` from the command line to its tables."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from written_tables import read_rows

from n2a_bids.cli.tools import main
from n2a_bids.errors import DenoisingError
from n2a_bids.io.files import whole_file
from n2a_bids.lab.benchmark import worker
from n2a_bids.lab.benchmark.anat import trust
from n2a_bids.lab.benchmark.truths import crop_truth, template_truth

pytestmark = pytest.mark.slow


def run(out, *options):
    return main(["benchmark", "--out", str(out), "--crop", "24", "20", "16", "--sigmas", "0.4", *options])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a finished benchmark of two methods."""
    out = tmp_path_factory.mktemp("benchmark") / "out"
    assert run(out, "--strategies", "single", "nlmeans") == 0
    return out


def test_table_summary_figure_and_picture_are_written(finished):
    rows = read_rows(finished / "benchmark.tsv")
    assert [row["method"] for row in rows] == ["mean", "single", "nlmeans"]
    assert all(row["status"] == "ok" and float(row["seconds"]) >= 0 for row in rows)
    psnr = {row["method"]: float(row["psnr_db"]) for row in rows}
    assert psnr["mean"] - psnr["single"] == pytest.approx(3, abs=0.5)
    assert psnr["nlmeans"] > psnr["mean"]
    assert "n2a-tools benchmark" in (finished / "machine.txt").read_text()
    assert "| nlmeans |" in (finished / "summary.md").read_text()
    pictures = [path.name for path in finished.rglob("*.png")]
    assert sorted(pictures) == ["icbm152_aligned_sigma0p4_R2_seed0.png", "summary.png"]


def test_resuming_adds_only_what_is_missing(finished):
    before = {row["method"]: row for row in read_rows(finished / "benchmark.tsv")}
    assert run(finished, "--strategies", "single", "nlmeans", "nlmeans-each", "--resume") == 0
    after = {row["method"]: row for row in read_rows(finished / "benchmark.tsv")}
    assert set(after) - set(before) == {"nlmeans-each"}
    assert all(after[name] == before[name] for name in before)


def test_earlier_results_are_never_overwritten(finished, capsys):
    assert run(finished, "--strategies", "mean") == 2
    assert "--resume" in capsys.readouterr().err.replace("\n", " ")


def test_rows_of_another_box_are_not_mixed_in(finished, capsys):
    before = read_rows(finished / "benchmark.tsv")
    assert run(finished, "--strategies", "mean", "--resume", "--crop", "20", "20", "16") == 2
    assert "crop" in capsys.readouterr().err
    assert read_rows(finished / "benchmark.tsv") == before


def test_unknown_method_is_a_usage_error(tmp_path, capsys):
    assert run(tmp_path / "out", "--strategies", "magic") == 2
    assert "magic" in capsys.readouterr().err


def test_dying_method_becomes_a_failed_row():
    with pytest.raises(DenoisingError, match="exit code"):
        worker.run_in_child(_die)
    with pytest.raises(DenoisingError, match="ValueError: no luck"):
        worker.run_in_child(_fail)


def test_no_method_outlives_a_killed_benchmark(tmp_path):
    marker = tmp_path / "pid"
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from functools import partial\n"
        "from n2a_bids.lab.benchmark.worker import run_in_child\n"
        "import test_benchmark_command as here\n"
        "if __name__ == '__main__': run_in_child(partial(here.wait_long, sys.argv[1]))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    tests = Path(__file__).resolve().parents[1]
    folders = [str(folder) for folder in (tests / "e2e", tests / "datasets", tests.parent)]
    benchmark = subprocess.Popen([sys.executable, str(script), str(marker), *folders])
    wait_until(marker.exists)
    child = int(marker.read_text())
    benchmark.kill()
    benchmark.wait()
    wait_until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie")


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def wait_long(marker):
    with whole_file(Path(marker)) as partial_file:
        partial_file.write_text(str(os.getpid()))
    time.sleep(300)
    return np.zeros(0, np.float32), {}


def _die():
    os._exit(3)


def _fail():
    raise ValueError("no luck")


def plain_mean(data):
    return data.matched.mean(axis=0)


@pytest.fixture(scope="module")
def stage():
    return crop_truth(template_truth(), (40, 40, 32))


def findings_of(denoise, stage):
    return {f.test: f for test in trust.TESTS.values() for f in test(stage, denoise)}


def test_plain_mean_is_trusted_but_for_its_noise(stage):
    found = findings_of(plain_mean, stage)
    assert found["lesions in all repetitions keep their contrast"].value == pytest.approx(1, abs=0.01)
    assert found["lesions in one of two repetitions appear by half"].value == pytest.approx(0.5, abs=0.05)
    assert found["gain and offset carry through"].holds
    assert found["rounding by gain and offset stays small"].holds
    assert found["noise only comes out flat"].value == pytest.approx(1)
    assert not found["uniform object comes out flat"].holds


def test_trust_tests_find_a_denoiser_that_blurs(stage):
    from scipy import ndimage

    found = findings_of(lambda data: ndimage.gaussian_filter(plain_mean(data), 2.0), stage)
    assert found["noise only comes out flat"].holds
    assert not found["lesions in all repetitions keep their contrast"].holds
    assert not found["residual holds no more anatomy than the difference"].holds


def test_trust_tests_find_a_denoiser_with_a_scale_of_its_own(stage):
    found = findings_of(lambda data: np.maximum(plain_mean(data), 0.8 * data.truth.max()), stage)
    assert not found["gain and offset carry through"].holds
    assert not found["rounding by gain and offset stays small"].holds


def test_trust_command_writes_a_verdict_per_test(tmp_path):
    assert run(tmp_path / "out", "--strategies", "mean", "--trust") == 0
    rows = read_rows(tmp_path / "out" / "trust.tsv")
    assert {row["verdict"] for row in rows} <= {"holds", "does not hold"}
    assert len(rows) == 7
