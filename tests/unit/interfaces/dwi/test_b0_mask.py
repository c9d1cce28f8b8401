"""The brain in a b0: what deepbet makes of it, and what stands in."""

import json
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.external import b0_brain
from n2a_bids.external.b0_brain import find_b0_brain
from n2a_bids.interfaces.dwi.b0_mask import B0Mask
from n2a_bids.lab.benchmark.dwi.brain_masks import COLUMNS, KEYS, METHODS, outlined_b0s, run_brain_masks
from n2a_bids.lab.benchmark.table import RowTable
from n2a_bids.lab.simulation.head import simulate_b0

_SERIES = "dwi-pairs/sub-sagap/dwi/sub-sagap_run-1_dwi.nii.gz"


def _ball(folder: Path) -> tuple[Path, np.ndarray]:
    grid = np.stack(np.meshgrid(*(np.linspace(-1.3, 1.3, n) for n in (30, 32, 20)), indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.7
    path = folder / "b0.nii.gz"
    nb.save(nb.Nifti1Image((100.0 * mask).astype(np.float32), np.diag([6.0, 6.0, 6.0, 1.0])), path)
    return path, mask


def _deepbet(monkeypatch, brain: np.ndarray) -> None:
    def write(module, arguments):
        source = nb.load(arguments[0])
        nb.save(nb.Nifti1Image(brain.astype(np.uint8), source.affine), arguments[1])

    monkeypatch.setattr(b0_brain, "run_module", write)


@pytest.mark.parametrize("found", ["nothing", "elsewhere"])
def test_the_threshold_stands_in_with_a_warning(tmp_path, monkeypatch, found):
    """Where deepbet finds no brain, or one that is not what is bright, the sidecar will say what was done."""
    monkeypatch.chdir(tmp_path)
    path, mask = _ball(tmp_path)
    _deepbet(monkeypatch, np.roll(mask, 9, axis=0) if found == "elsewhere" else np.zeros_like(mask))
    outputs = B0Mask(in_file=path, name="/data/sub-01_dwi.nii.gz").run().outputs
    bright = find_b0_brain(path, "otsu", tmp_path).mask
    assert bright.any() and np.array_equal(np.asarray(nb.load(outputs.out_mask).dataobj) > 0, bright)
    assert len(outputs.warnings) == 1 and outputs.warnings[0].startswith("sub-01_dwi.nii.gz: the brain mask")


def test_what_deepbet_finds_is_taken(tmp_path, monkeypatch):
    """A mask that agrees with what is bright by and large is taken as it is, parts that are dark included."""
    path, mask = _ball(tmp_path)
    wider = ndimage.binary_dilation(mask)
    _deepbet(monkeypatch, wider)
    brain = find_b0_brain(path, "auto", tmp_path)
    assert np.array_equal(brain.mask, wider) and not brain.warning


def test_simulated_b0s_hold_their_brain():
    """Distorted, biased and noisy, but brighter in the true brain than around it."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1.05, 1.05, n) for n in (28, 32, 26)), indexing="ij"))
    mask = (grid**2).sum(axis=0) < 1
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(mask.shape), 2)
    brain = np.where(mask, 100 * (1 + texture), 0)
    made, again = (simulate_b0(brain, mask, (5.0, 5.0, 5.0), 0, target_mm=5.0) for _ in range(2))
    assert np.array_equal(made.image, again.image)
    inside = ndimage.binary_erosion(made.brain, iterations=2)
    assert (
        made.image[inside].mean() > 2 * made.image[~ndimage.binary_dilation(made.brain, iterations=3)].mean()
    )
    volume = made.brain.sum() * np.prod(made.voxel_size_mm) / (125 * mask.sum())
    assert 0.9 < volume < 1.1


@pytest.mark.real_data
def test_a_real_b0_keeps_brain_stem_and_orbitofrontal_lobe(real_data, tmp_path):
    """A sagittal series, part of which a threshold cuts away: less than 4 % of the outlines is missed."""
    outlines = real_data / "b0_outlines.json"
    if not outlines.exists():
        pytest.skip(f"no outlines of the brain: {outlines} is absent")
    one = next(b0 for b0 in outlined_b0s(outlines) if b0.name == Path(_SERIES).name)
    table = run_brain_masks(iter([one]), ["deepbet", "otsu"], tmp_path / "masks.tsv")
    rows = {row["method"]: row for row in RowTable(table, COLUMNS, KEYS).rows}
    assert float(rows["deepbet"]["missed"]) < 0.04 < float(rows["otsu"]["missed"])
    assert float(rows["deepbet"]["dice"]) > 0.94


def test_outlines_name_images_from_their_folder(tmp_path):
    """A polygon becomes a mask of its slice; a path that is wrong is named."""
    path, _ = _ball(tmp_path)
    square = [[4.5, 4.5], [4.5, 9.5], [9.5, 9.5], [9.5, 4.5]]
    outlines = tmp_path / "outlines.json"
    outlines.write_text(json.dumps({path.name: {"z 10": square}}))
    (one,) = outlined_b0s(outlines)
    ((axis, index, truth),) = one.slices
    assert (axis, index) == (2, 10) and truth.shape == (30, 32) and truth[5:10, 5:10].all()
    assert truth.sum() == 25 and set(METHODS) == {"deepbet", "template", "otsu"}
