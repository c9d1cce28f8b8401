"""``n2a-tools benchmark --modality dwi --unseen``: a second series judges what was made of the first."""

import nibabel as nib
import numpy as np
import pytest
from nipype import Node
from scipy import ndimage
from written_tables import read_rows

from n2a_bids.algorithms.diffusion.gradients import Gradients
from n2a_bids.algorithms.transforms import Affine
from n2a_bids.cli.tools import main
from n2a_bids.interfaces.dwi.align import AlignSeries
from n2a_bids.io.gradients import write_gradients
from n2a_bids.io.transforms import write_transforms
from n2a_bids.lab.benchmark.dwi.real_pair import load_aligned
from n2a_bids.lab.benchmark.dwi.unseen import ACQUIRED, angular_detail
from n2a_bids.lab.benchmark.unseen import Pair, Scorer
from n2a_bids.lab.simulation.lesions import ball_mask

pytestmark = pytest.mark.slow

SHAPE = (30, 30, 18)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


def make_signal():
    """Two fibre directions in a ball: (X, Y, Z, C) signal, its mask and table."""
    rng = np.random.default_rng(0)
    mask = ball_mask(SHAPE)
    directions = rng.standard_normal((16, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    table = Gradients(np.r_[0.0, 0.0, np.full(16, 1000.0)], np.vstack([np.zeros((2, 3)), directions]))
    part = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 3) > 0
    along = np.where(part[..., None], table.bvecs[:, 0] ** 2, table.bvecs[:, 1] ** 2)
    attenuation = np.exp(-table.bvals / 1000 * (0.4 + 1.2 * along))
    b0 = 100 + 40 * (ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2) > 0.02)
    return np.where(mask[..., None], b0[..., None] * attenuation, 0), mask, table


def noisy(signal, sd, seed):
    real, imaginary = sd * np.random.default_rng(seed).standard_normal((2, *signal.shape))
    return np.hypot(signal + real, imaginary).astype(np.float32)


@pytest.fixture
def aligned(tmp_path):
    """Folder of the step ``align`` for two series, the second noisier and of another gain."""
    signal, mask, table = make_signal()
    folder = tmp_path / "inputs"
    folder.mkdir()

    def save(name, data):
        nib.Nifti1Image(data, AFFINE).to_filename(folder / name)
        return str(folder / name)

    series = [noisy(signal, 4.0, 1), 1.1 * noisy(signal, 6.0, 2)]
    tables = [write_gradients(table, AFFINE, folder / f"series-{index}") for index in (1, 2)]
    still = str(write_transforms([Affine()] * len(table.bvals), folder / "motion.json"))
    align = AlignSeries(
        in_files=[save(f"run-{index}.nii.gz", one) for index, one in enumerate(series, start=1)],
        bval_files=[str(bval) for bval, _ in tables],
        bvec_files=[str(bvec) for _, bvec in tables],
        motion_files=[still, still],
        between_file=str(write_transforms([Affine(), Affine()], folder / "between.json")),
        b0_files=[save(f"b0-{index}.nii.gz", one[..., 0]) for index, one in enumerate(series, start=1)],
        mask_file=save("mask.nii.gz", mask.astype(np.uint8)),
        keep_mask=True,
        names=["sub-01_run-1_dwi.nii.gz", "sub-01_run-2_dwi.nii.gz"],
    )
    Node(align, name="align", base_dir=str(tmp_path)).run()
    return tmp_path / "align"


def test_gains_without_a_truth_are_those_against_it(aligned, tmp_path):
    """Within the standard errors, whatever gain and noise the second series has."""
    words = ["--strategies", "noisy", "mppca", "auto+floor", "--out", str(tmp_path / "out")]
    assert main(["benchmark", "--modality", "dwi", "--unseen", "--pair", str(aligned), *words]) == 0
    rows = read_rows(tmp_path / "out" / "unseen.tsv")
    found = {row["method"]: row for row in rows if (row["given"], row["what"]) == (ACQUIRED, "weighted")}
    assert {row["status"] for row in rows} == {"ok"}
    assert float(found["noisy"]["gain_db"]) == 0
    assert float(found["mppca"]["gain_db"]) > 2
    assert float(found["noisy"]["noise_sd"]) == pytest.approx(4, rel=0.05)
    lead = [float(found["noisy"][name]) for name in ("lead_of_auto", "lead_error")]
    assert lead[0] > 3 * lead[1]


def test_second_series_is_brought_to_the_intensity_of_the_first(aligned):
    pair = load_aligned(aligned)
    bright = pair.first.gradients.is_b0
    means = [image[..., bright][pair.mask].mean() for image in (pair.first.data, pair.second)]
    assert means[1] == pytest.approx(means[0], rel=1e-3)
    assert pair.name == "sub-01_run-1_dwi"


def test_noise_between_directions_is_told_whatever_moved():
    """A second series that lies half a voxel off changes the estimate by little; the difference, by much."""
    signal, mask, table = make_signal()
    signal, table = signal[..., 2:] + 200, table.subset(slice(2, None))
    rng = np.random.default_rng(5)
    moved = ndimage.shift(signal, (0.5, 0, 0, 0), order=3)
    images = [one + sd * rng.standard_normal(signal.shape) for one, sd in ((signal, 4.0), (moved, 6.0))]
    pair = Pair(*(one.astype(np.float32) for one in images), ndimage.binary_erosion(mask, iterations=3))
    scorer = Scorer(pair, angular_detail(pair, table))
    assert scorer.noise_variance[0] == pytest.approx(16, rel=0.1)
    assert scorer.difference > 1.1 * (16 + 36)


def test_another_folder_is_refused(tmp_path, capsys):
    words = ["--pair", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["benchmark", "--modality", "dwi", "--unseen", *words]) != 0
    assert "align" in capsys.readouterr().err
