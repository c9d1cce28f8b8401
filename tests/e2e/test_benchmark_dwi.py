"""``n2a-tools benchmark --modality dwi`` from the command line to its tables."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from dwi_dataset import VOXEL_MM, head
from written_tables import read_rows

from n2a_bids.cli.tools import main
from n2a_bids.io.gradients import write_gradients
from n2a_bids.lab.benchmark.dwi.run import COLUMNS, summarise_diffusion

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> list[str]:
    """A small series with its table, as options of the command."""
    folder = tmp_path_factory.mktemp("truth")
    signal, gradients = head()
    affine = np.diag([VOXEL_MM] * 3 + [1.0])
    nb.Nifti1Image(signal, affine).to_filename(folder / "series.nii.gz")
    nb.Nifti1Image((signal[..., 0] > 0).astype(np.uint8), affine).to_filename(folder / "mask.nii.gz")
    write_gradients(gradients, affine, folder / "series")
    return ["--truth", str(folder / "series.nii.gz"), "--truth-mask", str(folder / "mask.nii.gz")]


def _benchmark(out: Path, *options: object) -> int:
    return main(["benchmark", "--modality", "dwi", "--out", str(out), *(str(option) for option in options)])


def test_every_condition_gives_rows_and_a_summary(truth, tmp_path):
    """Each method in each cell once; on aligned repetitions the default beats what was measured."""
    conditions = ["single", "repeat", "misaligned", "reverse-pe", "split"]
    methods = ["noisy", "auto"]
    options = ["--snr", 15, "--recipe", "fast", "--peak-mm", 9, "--phantoms", "multi-tensor"]
    options += ["--dwi-conditions", *conditions, "--strategies", *methods]
    assert _benchmark(tmp_path, *truth, *options) == 0
    rows = read_rows(tmp_path / "diffusion.tsv")
    assert [(row["condition"], row["method"]) for row in rows] == [
        (c, m) for c in conditions for m in methods
    ]
    value = {(row["condition"], row["method"]): float(row["psnr_dwi_db"]) for row in rows}
    for condition in ("single", "repeat", "split"):
        assert value[condition, "auto"] > value[condition, "noisy"] + 1
    assert value["misaligned", "noisy"] < value["repeat", "noisy"]
    page = (tmp_path / "diffusion.md").read_text()
    assert "| multi-tensor | misaligned | 15 | auto | 1 |" in page and "PSNR of DWI, dB: best in" in page


def test_scans_are_combined_with_what_the_head_does(truth, tmp_path, capsys):
    """A scan of the table changes the noise and the truth; those of T1w alone are refused."""
    options = [
        "--snr",
        15,
        "--recipe",
        "fast",
        "--dwi-conditions",
        "single",
        "repeat",
        "--strategies",
        "noisy",
    ]
    assert _benchmark(tmp_path, *truth, *options, "--conditions", "aligned", "partial-fourier", "grappa") == 0
    rows = {row["condition"]: float(row["psnr_dwi_db"]) for row in read_rows(tmp_path / "diffusion.tsv")}
    names = ["single", "single-partial-fourier", "single-grappa"]
    assert list(rows) == names + [name.replace("single", "repeat") for name in names]
    for name in names:
        assert rows[name.replace("single", "repeat")] == pytest.approx(rows[name] + 3, abs=1)
    assert _benchmark(tmp_path / "none", *truth, *options, "--conditions", "moved") == 2
    assert "--dwi-conditions" in capsys.readouterr().err


def test_supervised_ceiling_learns_elsewhere_and_beats_the_mean(truth, tmp_path, capsys):
    """It has the truth of the rest of the brain; a box that is all of it leaves nothing to learn from."""
    options = [*truth, "--snr", 10, "--recipe", "fast", "--phantoms", "tensor", "--dwi-conditions", "single"]
    options += ["--strategies", "noisy", "supervised"]
    assert _benchmark(tmp_path / "box", *options, "--crop", 30, 30, 3) == 0
    value = {
        row["method"]: float(row["psnr_dwi_db"]) for row in read_rows(tmp_path / "box" / "diffusion.tsv")
    }
    assert value["supervised"] > value["noisy"] + 1
    assert _benchmark(tmp_path / "all", *options) == 2
    assert "leaves nothing of the brain" in capsys.readouterr().err


def test_summary_gives_mean_spread_and_lead():
    """Two draws of two methods: means, SDs, and the cell in which the default is behind."""
    base = dict.fromkeys(COLUMNS, "1")
    cell = {"phantom": "tensor", "condition": "single", "snr": "15"}
    rows = [
        base | cell | {"method": method, "fa_error": value}
        for method, values in (("auto", ("0.04", "0.06")), ("mppca", ("0.01", "0.01")))
        for value in values
    ]
    page = summarise_diffusion(rows)
    assert "0.0500 \N{PLUS-MINUS SIGN} 0.0141" in page
    assert "FA error: best in 0 of 1 cells: not in tensor single 15 (behind mppca)" in page


def test_distortion_corrections_are_compared(truth, tmp_path):
    """A known field is found better than by rigid registration; a real pair agrees better than before."""
    files = []
    signal, _ = head()
    for name, shift in (("plus", 1), ("minus", -1)):
        path = tmp_path / f"{name}.nii.gz"
        nb.Nifti1Image(np.roll(signal[..., 0], shift, axis=1), np.diag([VOXEL_MM] * 3 + [1.0])).to_filename(
            path
        )
        files.append(path)
    mask = truth[3]
    options = ["--distortion", "--snr", 20, "--peak-mm", 9, "--pair", *files, "--pair-mask", mask]
    assert _benchmark(tmp_path / "out", *truth, *options) == 0
    rows = {(row["pair"], row["method"]): row for row in read_rows(tmp_path / "out" / "distortion.tsv")}
    error = {
        method: float(rows["simulated, field 0", method]["error_95_voxels"]) for method in ("rigid", "n2a")
    }
    assert error["n2a"] < 0.6 * error["rigid"]
    real = rows["real", "n2a"]
    assert float(real["correlation_after"]) > float(real["correlation_before"])
    assert {"rigid", "n2a", "ants"} <= {method for _, method in rows}


def test_distortion_without_pairs_is_a_usage_error(tmp_path):
    """There is nothing to compare."""
    assert _benchmark(tmp_path, "--distortion") == 2


def test_complex_series_have_less_bias_than_their_magnitudes(truth, tmp_path, capsys):
    """A scan that keeps the phase: real parts are denoised; magnitudes of the same noise are a method."""
    options = ["--snr", 5, "--recipe", "fast", "--phantoms", "multi-tensor", "--conditions", "complex"]
    methods = ["noisy", "noisy:magnitude", "auto"]
    command = [*truth, *options, "--strategies", *methods, "--dwi-conditions"]
    assert _benchmark(tmp_path, *command, "repeat") == 0
    rows = {row["method"]: row for row in read_rows(tmp_path / "diffusion.tsv")}
    assert {row["condition"] for row in rows.values()} == {"repeat-complex"}
    assert float(rows["noisy:magnitude"]["dwi_bias"]) > 0.04
    assert abs(float(rows["noisy"]["dwi_bias"])) < 0.03
    assert float(rows["auto"]["md_error"]) < 0.7 * float(rows["noisy:magnitude"]["md_error"])
    assert _benchmark(tmp_path / "moved", *command, "reverse-pe") != 0
    assert "expected --dwi-conditions single or repeat" in capsys.readouterr().err
