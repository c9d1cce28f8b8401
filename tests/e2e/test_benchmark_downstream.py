"""``n2a-tools benchmark --downstream`` from the command line to its tables and picture."""

import nibabel as nb
import numpy as np
import pytest
from dwi_dataset import VOXEL_MM, head
from written_tables import read_rows

from n2a_bids.cli.tools import main
from n2a_bids.io.gradients import write_gradients
from n2a_bids.lab.benchmark.downstream.averages import LADDER


def run(out, *options):
    box = ["--crop", "20", "20", "20", "--sigmas", "0.4", "--downstream", "--strategies"]
    return main(["benchmark", "--out", str(out), *box, *options])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a finished run with one method beside the means."""
    out = tmp_path_factory.mktemp("downstream") / "out"
    assert run(out, "nlmeans") == 0
    return out


@pytest.mark.proof
def test_every_method_and_mean_is_judged(finished):
    rows = [row for row in read_rows(finished / "downstream.tsv") if row["measure"] == "gm_overlap"]
    assert [(row["method"], int(row["n_repetitions"])) for row in rows] == [
        *(("mean", n) for n in LADDER),
        ("nlmeans", 2),
    ]
    assert all(row["status"] == "ok" and float(row["error"]) >= 0 for row in rows)
    assert float(rows[0]["error"]) > float(rows[-2]["error"])
    summary = {row["method"]: row for row in read_rows(finished / "downstream-summary.tsv")}
    assert 1 <= float(summary["nlmeans"]["worth_averages"]) <= LADDER[-1]
    assert (finished / "downstream.png").stat().st_size > 1000
    assert "--downstream" in (finished / "machine.txt").read_text()


@pytest.mark.proof
def test_thickness_and_registration_are_judged_where_asked(tmp_path):
    """The same columns, other measures; tissues are left out."""
    out = tmp_path / "out"
    assert run(out, "nlmeans", "--analyses", "thickness", "registration", "--repetitions", "2") == 0
    rows = read_rows(out / "downstream.tsv")
    assert {row["measure"] for row in rows} == {"thickness_mm", "regional_thickness_mm", "log_jacobian"}
    assert {row["status"] for row in rows} == {"ok"}
    noise = [float(row["error"]) for row in rows if row["measure"] == "log_jacobian"]
    assert noise[0] > noise[-2] > 0


@pytest.mark.proof
def test_resuming_adds_only_what_is_missing(finished):
    before = read_rows(finished / "downstream.tsv")
    assert run(finished, "nlmeans", "nlmeans-each", "--resume") == 0
    after = read_rows(finished / "downstream.tsv")
    assert after[: len(before)] == before
    assert {row["method"] for row in after[len(before) :]} == {"nlmeans-each"}
    assert run(finished, "nlmeans") == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [(("--conditions", "echoes"), "echoes"), (("--repetitions", "12"), "12")],
    ids=["echoes", "too-many"],
)
def test_what_cannot_be_counted_in_averages_is_refused(tmp_path, capsys, options, named):
    assert run(tmp_path / "out", "nlmeans", *options) == 2
    assert named in capsys.readouterr().err


def test_analyses_of_heads_are_refused_for_diffusion(tmp_path, capsys):
    """Nobody waits for a thickness that never comes."""
    options = [
        "--modality",
        "dwi",
        "--truth",
        "dwi.nii.gz",
        "--strategies",
        "mppca",
        "--analyses",
        "thickness",
    ]
    assert main(["benchmark", "--out", str(tmp_path / "out"), "--downstream", *options]) == 2
    assert "--analyses thickness" in capsys.readouterr().err


@pytest.mark.proof
def test_diffusion_maps_and_a_bundle_are_judged(tmp_path):
    """A small series with its table beside it, from the command line to the rows."""
    signal, gradients = head()
    affine, series, mask = np.diag([VOXEL_MM] * 3 + [1.0]), tmp_path / "dwi.nii.gz", tmp_path / "mask.nii.gz"
    nb.Nifti1Image(signal, affine).to_filename(series)
    nb.Nifti1Image((signal[..., 0] > 0).astype(np.uint8), affine).to_filename(mask)
    write_gradients(gradients, affine, tmp_path / "dwi")
    options = ["--modality", "dwi", "--downstream", "--truth", str(series), "--truth-mask", str(mask)]
    options += ["--snr", "20", "--recipe", "fast", "--strategies", "mppca"]
    out = tmp_path / "out"
    assert main(["benchmark", "--out", str(out), *options]) == 0
    rows = [row for row in read_rows(out / "downstream.tsv") if row["measure"] == "fa"]
    assert [(row["method"], int(row["n_repetitions"])) for row in rows] == [
        *(("mean", n) for n in LADDER),
        ("mppca", 2),
    ]
    assert float(rows[0]["error"]) > float(rows[7]["error"])
    assert rows[0]["noise_level"] == "SNR 20"
