"""Brain masks that users bring: which are taken for which images, and which are passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from constant_images import save_ones

from n2a_bids.dataset.read.given_masks import (
    find_brain_mask,
    mask_warnings,
    masks_in_other_spaces,
    owner_of_mask,
)
from n2a_bids.dataset.units import DenoisingUnit, ImageFile
from n2a_bids.errors import BIDSDataError


@pytest.fixture
def unit(tmp_path) -> DenoisingUnit:
    """Two runs of one session."""
    images = []
    for run in "12":
        path = save_ones(
            tmp_path / f"raw/sub-01/ses-a/anat/sub-01_ses-a_run-{run}_T1w.nii.gz", dtype="float32"
        )
        images.append(ImageFile(path, {"sub": "01", "ses": "a", "run": run}))
    return DenoisingUnit("anat-repeats", tuple(images), {"sub": "01", "ses": "a"})


@pytest.fixture
def anat(tmp_path) -> Path:
    return tmp_path / "smriprep/sub-01/ses-a/anat"


def find(unit: DenoisingUnit, tmp_path: Path) -> Path | None:
    (tmp_path / "smriprep").mkdir(exist_ok=True)
    return find_brain_mask({"smriprep": tmp_path / "smriprep"}, unit)


def test_masks_as_smriprep_and_n2a_write_them_are_found(unit, anat, tmp_path):
    """Without space-: any grid, since it shares world coordinates."""
    assert find(unit, tmp_path) is None
    mask = save_ones(anat / "sub-01_ses-a_desc-brain_mask.nii.gz", shape=(9, 9, 9))
    save_ones(anat / "sub-01_ses-a_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz", shape=(9, 9, 9))
    save_ones(anat / "sub-01_ses-a_dseg.nii.gz")
    assert find(unit, tmp_path) == mask


def test_masks_of_all_sessions_are_found(unit, tmp_path):
    """sMRIPrep puts one mask for all sessions into the folder of the participant."""
    mask = save_ones(tmp_path / "smriprep/sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    assert find(unit, tmp_path) == mask


def test_masks_of_other_images_do_not_fit(unit, anat, tmp_path):
    """Another run, another acq, another label, a template space on another grid."""
    for name in ("run-3", "acq-hi", "space-MNI152NLin6Asym"):
        save_ones(anat / f"sub-01_ses-a_{name}_desc-brain_mask.nii.gz", shape=(9, 9, 9))
    save_ones(anat / "sub-01_ses-a_desc-brainstem_mask.nii.gz")
    assert find(unit, tmp_path) is None


def test_a_mask_on_the_grid_of_an_image_wins(unit, anat, tmp_path):
    """Even with space-, since nothing has to be resampled."""
    save_ones(anat / "sub-01_ses-a_desc-brain_mask.nii.gz", shape=(9, 9, 9))
    mask = save_ones(anat / "sub-01_ses-a_run-02_space-orig_desc-brain_mask.nii.gz")
    assert find(unit, tmp_path) == mask


def test_masks_in_template_space_are_passed_over(unit, anat, tmp_path):
    """Even on the grid of an image, which a template can share by chance; they are listed for a message."""
    mask = save_ones(anat / "sub-01_ses-a_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz")
    assert find(unit, tmp_path) is None
    roots = {"smriprep": tmp_path / "smriprep"}
    assert masks_in_other_spaces(roots, unit) == [mask]
    assert mask.name in mask_warnings(roots, None, "by deepbet", [mask])[0]
    own = save_ones(anat / "sub-01_ses-a_space-T1w_desc-brain_mask.nii.gz")
    assert find(unit, tmp_path) == own
    dwi = DenoisingUnit("dwi-single", unit.images[:1], unit.entities)
    save_ones(tmp_path / "smriprep/sub-01/ses-a/dwi/sub-01_ses-a_space-T1w_desc-brain_mask.nii.gz")
    assert find(dwi, tmp_path) is None


def test_the_first_derivative_named_wins(unit, tmp_path):
    """Among masks that fit equally well."""
    roots = {name: tmp_path / name for name in ("second", "first")}
    masks = {
        name: save_ones(root / "sub-01/ses-a/anat/sub-01_ses-a_desc-brain_mask.nii.gz")
        for name, root in roots.items()
    }
    assert find_brain_mask(roots, unit) == masks["second"]


def test_masks_of_dwi_are_looked_for_in_dwi(unit, tmp_path):
    """A T1w mask does not fit a diffusion series."""
    save_ones(tmp_path / "smriprep/sub-01/ses-a/anat/sub-01_ses-a_desc-brain_mask.nii.gz")
    dwi = DenoisingUnit("dwi-single", unit.images[:1], unit.entities)
    assert find(dwi, tmp_path) is None
    mask = save_ones(tmp_path / "smriprep/sub-01/ses-a/dwi/sub-01_ses-a_desc-brain_mask.nii.gz")
    assert find(dwi, tmp_path) == mask


def test_broken_derivatives_are_errors(unit, anat, tmp_path):
    """A folder that is not there, a mask that cannot be read."""
    with pytest.raises(BIDSDataError, match="derivatives 'none', found no such folder"):
        find_brain_mask({"none": tmp_path / "none"}, unit)
    save_ones(anat / "sub-01_ses-a_desc-brain_mask.nii.gz").write_bytes(b"")
    with pytest.raises(BIDSDataError, match="expected a brain mask for sub-01_ses-a_T1w"):
        find(unit, tmp_path)


def test_the_owner_of_a_mask_has_its_grid_and_its_name(unit, anat):
    """Runs of one session often have one grid, and the head lies elsewhere in the second."""
    paths = [image.path for image in unit.images]
    names = ("desc-brain", "run-1_desc-brain", "run-2_desc-brain", "run-02_space-T1w_desc-brain")
    masks = [save_ones(anat / f"sub-01_ses-a_{name}_mask.nii.gz") for name in names]
    assert [owner_of_mask(mask, paths) for mask in masks] == [0, 0, 1, 1]
    save_ones(paths[1], affine=np.diag([3.0, 2, 2, 1]))
    assert owner_of_mask(masks[2], paths) == 0, "drawn on the grid of the first"
    assert owner_of_mask(save_ones(anat / "mask.nii.gz", affine=np.diag([3.0, 2, 2, 1])), paths) == 1
    paths[1].write_bytes(b"broken")
    assert owner_of_mask(masks[0], paths) == 0
