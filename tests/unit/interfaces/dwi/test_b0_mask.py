"""The brain in a b0: what the network makes of it, and what stands in."""

import json
import shutil
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage

from n2a_bids.algorithms.quality.mask_checks import dice
from n2a_bids.errors import DenoisingError
from n2a_bids.external import b0_brain, network_brain
from n2a_bids.external.b0_brain import find_b0_brain
from n2a_bids.interfaces.dwi.b0_mask import B0Mask
from n2a_bids.lab.benchmark.dwi.brain_masks import COLUMNS, KEYS, METHODS, outlined_b0s, run_brain_masks
from n2a_bids.lab.benchmark.table import RowTable
from n2a_bids.lab.simulation.head import SimulatedB0, simulate_b0

_OUTLINES = Path(__file__).parents[4] / "docs/benchmarks/2026-11-28/b0_outlines.json"
_SERIES = "dwi-pairs/sub-sagap/dwi/sub-sagap_run-1_dwi.nii.gz"


def _ball(folder: Path) -> tuple[Path, np.ndarray]:
    grid = np.stack(np.meshgrid(*(np.linspace(-1.3, 1.3, n) for n in (30, 32, 20)), indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.7
    path = folder / "b0.nii.gz"
    nb.save(nb.Nifti1Image((100.0 * mask).astype(np.float32), np.diag([6.0, 6.0, 6.0, 1.0])), path)
    return path, mask


@pytest.mark.parametrize("found", ["nothing", "elsewhere"])
def test_the_threshold_stands_in_with_a_warning(tmp_path, monkeypatch, found):
    """Where the network finds no brain, or one that is not what is bright, the sidecar says what was done."""
    monkeypatch.chdir(tmp_path)
    path, mask = _ball(tmp_path)
    wrong = np.roll(mask, 9, axis=0) if found == "elsewhere" else np.zeros_like(mask)
    monkeypatch.setattr(b0_brain, "find_by_network", lambda *_: wrong)
    outputs = B0Mask(in_file=path, name="/data/sub-01_dwi.nii.gz").run().outputs
    bright = find_b0_brain(path, "otsu", tmp_path).mask
    assert bright.any() and np.array_equal(np.asarray(nb.load(outputs.out_mask).dataobj) > 0, bright)
    assert len(outputs.warnings) == 1 and outputs.warnings[0].startswith("sub-01_dwi.nii.gz: the brain mask")


def test_what_the_network_finds_is_taken(tmp_path, monkeypatch):
    """A mask that agrees with what is bright by and large is taken as it is, parts that are dark included."""
    path, mask = _ball(tmp_path)
    wider = ndimage.binary_dilation(mask)
    monkeypatch.setattr(b0_brain, "find_by_network", lambda *_: wider)
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


def _simulated_b0() -> SimulatedB0:
    """A textured ball of a brain in a head, of 5 mm voxels, distorted."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1.2, 1.2, n) for n in (35, 40, 31)), indexing="ij"))
    mask = (grid**2).sum(axis=0) < 1
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(mask.shape), 1.5)
    brain = np.where(mask, 100 * (1 + texture), 0)
    return simulate_b0(brain, mask, (5.0, 4.5, 5.0), 0, target_mm=5.0)


@pytest.mark.slow
@pytest.mark.parametrize("stored", ["RAS", "PSR", "LIP"])
def test_the_network_finds_the_brain_however_it_is_stored(tmp_path, stored):
    """Dice above 0.93 with the truth, whatever the order of the voxels, and with a NaN in the air."""
    made = _simulated_b0()
    holed = made.image.copy()
    holed[0, 0, 0] = np.nan
    image = nb.Nifti1Image(holed, np.diag([*made.voxel_size_mm, 1.0]))
    turn = nb.orientations.axcodes2ornt(stored)
    path = tmp_path / "b0.nii.gz"
    nb.save(image.as_reoriented(turn), path)
    brain = find_b0_brain(path, "auto", tmp_path)
    truth = nb.Nifti1Image(made.brain.astype(np.uint8), image.affine).as_reoriented(turn)
    assert not brain.warning and dice(brain.mask, np.asarray(truth.dataobj) > 0) > 0.93


def test_without_its_weights_the_network_finds_nothing_by_chance(tmp_path, monkeypatch):
    """A package that was installed without them is named, in place of masks by random weights."""
    path, _ = _ball(tmp_path)
    monkeypatch.setattr(network_brain, "load_weights", lambda _: None)
    with pytest.raises(DenoisingError, match=r"brain-mask\.safetensors.*install n2a-bids again"):
        find_b0_brain(path, "auto", tmp_path)


@pytest.mark.real_data
def test_a_real_b0_keeps_brain_stem_and_orbitofrontal_lobe(real_data, tmp_path):
    """A sagittal series, part of which a threshold cuts away: less than 6 % of the outlines is missed."""
    for folder in real_data.iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    outlines = Path(shutil.copy(_OUTLINES, tmp_path))
    one = next(b0 for b0 in outlined_b0s(outlines) if b0.name == Path(_SERIES).name)
    table = run_brain_masks(iter([one]), ["network", "otsu"], tmp_path / "masks.tsv")
    rows = {row["method"]: row for row in RowTable(table, COLUMNS, KEYS).rows}
    assert float(rows["network"]["missed"]) < 0.06 < float(rows["otsu"]["missed"])
    assert float(rows["network"]["dice"]) > 0.93


def test_outlines_name_images_from_their_folder(tmp_path):
    """A polygon becomes a mask of its slice; a path that is wrong is named."""
    path, _ = _ball(tmp_path)
    square = [[4.5, 4.5], [4.5, 9.5], [9.5, 9.5], [9.5, 4.5]]
    outlines = tmp_path / "outlines.json"
    outlines.write_text(json.dumps({path.name: {"z 10": square}}))
    (one,) = outlined_b0s(outlines)
    ((axis, index, truth),) = one.slices
    assert (axis, index) == (2, 10) and truth.shape == (30, 32) and truth[5:10, 5:10].all()
    assert truth.sum() == 25 and set(METHODS) == {"network", "deepbet", "template", "otsu"}
