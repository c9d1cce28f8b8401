"""Laws of the benchmark of micrographs: exposures have their dose and drift, and rows say how it went."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from n2a_bids.cli.tools import main
from n2a_bids.errors import DenoisingError
from n2a_bids.lab.benchmark.micr import run as micr_run
from n2a_bids.lab.benchmark.micr.cells import MicrographCell, load_micrograph_truth, make_micrograph_data
from n2a_bids.lab.benchmark.micr.methods import available_micrograph_methods


@pytest.fixture
def drawn(tmp_path):
    """A clean image as a file."""
    field = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((240, 240)), 3)
    path = tmp_path / "drawn.png"
    Image.fromarray(np.clip(128 + 60 * field / field.std(), 0, 255).astype(np.uint8)).save(path)
    return path


def test_exposures_have_dose_and_drift_and_lie_on_the_truth(drawn):
    """The mean of the aligned exposures differs from the truth by its noise alone."""
    truth = load_micrograph_truth(drawn, (160, 160))
    data = make_micrograph_data(MicrographCell("drawn", 20.0, 2, 0), truth, 8.0)
    assert data.truth.shape == (160, 160)
    assert data.drift_error_pixels < 0.1
    mask = data.repetitions.mask[..., 0]
    error = (data.repetitions.data.mean(axis=0)[..., 0, 0] - data.truth)[mask]
    assert error.std() == pytest.approx(np.sqrt((data.truth[mask].mean() + 0.25) / 2), rel=0.04)


def test_the_command_writes_a_row_for_each_method(drawn, tmp_path):
    """The mean in two cells, and a summary; what failed is tried again."""
    out = tmp_path / "out"
    command = ["benchmark", "--modality", "micr", "--truth", str(drawn), "--out", str(out)]
    command += [
        "--doses",
        "5",
        "20",
        "--repetitions",
        "2",
        "--strategies",
        "mean",
        "--crop",
        "128",
        "128",
        "1",
    ]
    run = micr_run.run_in_child
    failed = []

    def fail_once(work):
        if failed:
            return run(work)
        failed.append(work)
        raise DenoisingError("out of memory")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(micr_run, "run_in_child", fail_once)
        assert main(command) == 1
    assert "failed: out of memory" in (out / "micrographs.tsv").read_text()
    assert main([*command, "--resume"]) == 0
    lines = (out / "micrographs.tsv").read_text().splitlines()
    assert len(lines) == 3
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"))) for line in lines[1:]]
    rows.sort(key=lambda row: float(row["dose"]))
    assert float(rows[1]["psnr_db"]) - float(rows[0]["psnr_db"]) == pytest.approx(6, abs=0.7)
    assert (out / "summary.md").read_text().count("\n") == 4
    assert (
        main(
            [
                *command,
                "--resume",
                "--strategies",
                "nlm" if "nlm" in available_micrograph_methods() else "mean",
                "--doses",
                "5",
            ]
        )
        == 0
    )
    assert (out / "pictures" / "drawn_dose5_R2.png").exists()
