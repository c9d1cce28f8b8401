"""Masks as nodes: given, from a template, and the check of what was found."""

import re

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from n2a_bids.algorithms.quality.mask_checks import dice
from n2a_bids.algorithms.transforms import Affine, voxel_sizes_mm, world_points
from n2a_bids.dataset.templates.brain import find_template
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.interfaces.anat.mask import (
    BrainMask,
    GivenBrainMask,
    NetworkBrainMask,
    TemplateBrainMask,
    packaged_template,
)
from n2a_bids.interfaces.image_checks import InspectInputs, mask_fit_warnings
from n2a_bids.io.images import load, save_like
from n2a_bids.lab.simulation.head import simulate_b0


@pytest.fixture
def head_files(tiny_bids, tmp_path, head):
    """T1w and brain mask of the phantom, as files on one grid."""
    image = tiny_bids / "sub-01/anat/sub-01_run-1_T1w.nii.gz"
    return image, save_like(head[1], image, tmp_path / "mask.nii.gz", np.uint8)


def test_given_brain_mask_is_kept_on_its_grid(head_files, tmp_path):
    """A mask on the grid of the image is the output, voxel by voxel."""
    image, mask = head_files
    found = GivenBrainMask(in_file=image, mask_file=mask).run(cwd=str(tmp_path)).outputs.out_mask
    np.testing.assert_array_equal(load(found)[0], load(mask)[0])


def test_given_brain_mask_is_resampled_by_world_coordinates(head_files, tmp_path, head, affine):
    """A mask cut to its box lands where it was."""
    image, _ = head_files
    corner = np.array([3, 2, 4])
    where = affine.copy()
    where[:3, 3] += affine[:3, :3] @ corner
    cut = tmp_path / "cut.nii.gz"
    nb.Nifti1Image(head[1][3:, 2:, 4:].astype(np.uint8), where).to_filename(cut)
    found = GivenBrainMask(in_file=image, mask_file=cut).run(cwd=str(tmp_path)).outputs.out_mask
    expected = np.zeros_like(head[1])
    expected[3:, 2:, 4:] = head[1][3:, 2:, 4:]
    np.testing.assert_array_equal(load(found)[0] > 0, expected)


def test_given_brain_mask_follows_the_head(head_files, tmp_path, head, affine):
    """To where the table stood otherwise: by world coordinates it would lie beside the brain."""
    owner, mask = head_files
    where = affine.copy()
    where[:3, 3] += (20, -10, 60)
    moved = tmp_path / "moved.nii.gz"
    image = nb.Nifti1Image(load(owner)[0], where)
    nb.save(image, moved)
    found = GivenBrainMask(in_file=moved, mask_file=mask, owner_file=owner).run(cwd=str(tmp_path)).outputs
    assert dice(load(found.out_mask)[0] > 0, head[1]) > 0.95
    found = GivenBrainMask(in_file=owner, mask_file=mask, owner_file=owner).run(cwd=str(tmp_path)).outputs
    np.testing.assert_array_equal(load(found.out_mask)[0] > 0, head[1])


def test_given_brain_mask_follows_a_turn_of_the_head(head_files, tmp_path, head, affine):
    """By a first look, which knows turns of twenty degrees, it would lie askew."""
    owner, mask = head_files
    centre = world_points(ndimage.center_of_mass(head[1]), affine)
    turn = Affine.about(Rotation.from_euler("x", 10, degrees=True).as_matrix(), centre, centre)
    to_voxels = (~turn).between_voxels(affine, affine)
    moved, expected = (
        ndimage.affine_transform(one, to_voxels[:3, :3], to_voxels[:3, 3], order=order)
        for one, order in ((load(owner)[0], 1), (head[1].astype(np.uint8), 0))
    )
    turned = save_like(moved, owner, tmp_path / "turned.nii.gz")
    found = GivenBrainMask(in_file=turned, mask_file=mask, owner_file=owner).run(cwd=str(tmp_path)).outputs
    assert dice(load(found.out_mask)[0] > 0, expected > 0) > 0.97


def test_empty_brain_mask_is_an_error_that_names_the_image(head_files, tmp_path):
    """An empty mask is refused with what to do."""
    image, mask = head_files
    empty = save_like(np.zeros(load(mask)[0].shape), image, tmp_path / "empty.nii.gz", np.uint8)
    with pytest.raises(BIDSDataError, match=r"run-1_T1w.*an empty mask.*lies on the brain"):
        GivenBrainMask(in_file=image, mask_file=empty).run(cwd=str(tmp_path))


@pytest.mark.parametrize(("edge", "taken"), [(0.1, True), (0.1, False)], ids=["animal", "speck"])
def test_a_given_mask_may_be_that_of_a_small_brain(head_files, tmp_path, edge, taken):
    """A head a tenth as long as ours was refused, for a mask of the user; some voxels are no brain."""
    image, mask = (nb.load(path) for path in head_files)
    small = image.affine @ np.diag([edge, edge, edge, 1])
    inside = np.asarray(mask.dataobj)
    if not taken:
        inside[np.cumsum(inside.ravel()).reshape(inside.shape) > 400] = 0
    head, drawn = tmp_path / "rat.nii.gz", tmp_path / "rat_mask.nii.gz"
    nb.Nifti1Image(np.asarray(image.dataobj), small).to_filename(head)
    nb.Nifti1Image(inside, small).to_filename(drawn)
    given = GivenBrainMask(in_file=head, mask_file=drawn)
    if taken:
        found = given.run(cwd=str(tmp_path)).outputs.out_mask
        np.testing.assert_array_equal(load(found)[0] > 0, inside > 0)
    else:
        with pytest.raises(BIDSDataError, match=r"expected a brain of 500 voxels.*rat_mask.*found 400"):
            given.run(cwd=str(tmp_path))


def test_absurd_brain_volume_is_an_error(head_files, tmp_path):
    """A brain of ten litres is no brain."""
    image, mask = head_files
    everything = save_like(np.ones(load(mask)[0].shape), image, tmp_path / "all.nii.gz", np.uint8)
    with pytest.raises(BIDSDataError, match="ml by"):
        GivenBrainMask(in_file=image, mask_file=everything).run(cwd=str(tmp_path))


def test_mask_of_noise_is_an_error(head_files, tmp_path, head):
    """A mask of the size of a brain, in an image that shows none."""
    image, mask = head_files
    noise = np.hypot(*np.random.default_rng(0).normal(0, 50, (2, *head[0].shape)))
    pure = save_like(noise, image, tmp_path / "noise.nii.gz")
    with pytest.raises(BIDSDataError, match=r"noise\.nii\.gz.*found noise alone.*lies on the brain"):
        GivenBrainMask(in_file=pure, mask_file=mask).run(cwd=str(tmp_path))


@pytest.mark.proof
def test_deepbet_on_noise_is_an_error(tmp_path):
    """Whatever it finds in noise alone is not believed."""
    noise = np.hypot(*np.random.default_rng(1).normal(0, 50, (2, 80, 80, 80)))
    path = tmp_path / "noise.nii.gz"
    affine = np.diag([1.6, 1.6, 1.6, 1])
    nb.Nifti1Image(noise.astype(np.float32), affine).to_filename(path)
    with pytest.raises(BIDSDataError, match=r"found (noise alone|an empty mask|\d+ ml)"):
        BrainMask(in_file=path).run(cwd=str(tmp_path))


def test_the_network_finds_the_brain_of_a_t2w(tmp_path):
    """In a head with bright CSF; noise alone is refused as by deepbet."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1.2, 1.2, n) for n in (43, 47, 40)), indexing="ij"))
    mask = (grid**2).sum(axis=0) < 1
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(mask.shape), 1.5)
    made = simulate_b0(np.where(mask, 100 * (1 + texture), 0), mask, (4.0, 4.0, 4.0), 0, target_mm=4.0)
    path = tmp_path / "sub-01_run-1_T2w.nii.gz"
    affine = np.diag([*made.voxel_size_mm, 1.0])
    nb.save(nb.Nifti1Image(made.image, affine), path)
    found = load(NetworkBrainMask(in_file=path).run(cwd=str(tmp_path)).outputs.out_mask)[0] > 0
    assert dice(found, made.brain) > 0.9
    noise = np.hypot(*np.random.default_rng(1).normal(0, 50, (2, *mask.shape))).astype(np.float32)
    nb.save(nb.Nifti1Image(noise, affine), path)
    with pytest.raises(BIDSDataError, match=r"found (noise alone|an empty mask|\d+ ml)"):
        NetworkBrainMask(in_file=path).run(cwd=str(tmp_path))


def test_find_template_uses_what_is_on_disk_only(tmp_path):
    """A template is found by name; a missing one, or empty files of an index, name the folder."""
    folder = tmp_path / "tpl-Mine"
    folder.mkdir()
    names = [f"tpl-Mine_res-01_{rest}.nii.gz" for rest in ("T1w", "desc-brain_mask")]
    for name in names:
        (folder / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"tpl-Mine.*leave the name out"):
        find_template("Mine", tmp_path)
    for name in names:
        (folder / name).write_bytes(b"image")
    assert find_template("Mine", tmp_path) == tuple(folder / name for name in names)


def test_packaged_template_has_a_brain_of_human_size(tmp_path):
    """The template in nilearn comes with a mask on its grid."""
    template, mask = packaged_template(tmp_path)
    brain, affine = load(mask)
    assert load(template)[0].shape == brain.shape
    assert 1200 < brain.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000 < 2200


@pytest.mark.proof
def test_brain_mask_finds_the_brain_of_a_real_head(real_data, tmp_path):
    """deepbet finds 1 to 2 litres of brain in a real head."""
    image = real_data / "t1w-pair/sub-01/anat/sub-01_run-1_T1w.nii.gz"
    data, affine = load(BrainMask(in_file=image).run(cwd=str(tmp_path)).outputs.out_mask)
    assert 1000 < data.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000 < 2000


@pytest.mark.proof
def test_template_brain_mask_agrees_with_deepbet(real_data, tmp_path):
    """The template route overlaps with the network by a Dice coefficient above 0.88."""
    image = real_data / "t1w-pair/sub-01/anat/sub-01_run-1_T1w.nii.gz"
    masks = []
    for interface in (BrainMask, TemplateBrainMask):
        folder = tmp_path / interface.__name__
        folder.mkdir()
        masks.append(load(interface(in_file=image).run(cwd=str(folder)).outputs.out_mask)[0] > 0)
    assert 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum()) > 0.88


@pytest.mark.parametrize("stripped", [False, True])
def test_a_given_mask_that_lies_elsewhere_is_told(head_files, head, stripped):
    """Shifted by 28 and 20 mm it is named with the distance; in place, tight or generous, it is not."""
    (data, brain), sizes_mm = head, voxel_sizes_mm(load(head_files[0])[1])
    data = data * brain if stripped else data
    (warning,) = mask_fit_warnings("mine_mask.nii.gz", data, np.roll(brain, (7, -5), (0, 1)), sizes_mm)
    assert "mine_mask.nii.gz" in warning and "34 mm away" in warning
    for fits in (brain, ndimage.binary_erosion(brain), ndimage.binary_dilation(brain)):
        assert mask_fit_warnings("mine_mask.nii.gz", data, fits, sizes_mm) == []
    # A mask beside the brain of a rat lay within two steps of the search.
    of_rat = tuple(0.1 * np.array(sizes_mm))
    (warning,) = mask_fit_warnings("rat_mask.nii.gz", data, np.roll(brain, (7, -5), (0, 1)), of_rat)
    assert re.search(r"about (2\.[5-9]|3\.[0-9]|4\.[0-3]) mm away", warning)
    assert mask_fit_warnings("rat_mask.nii.gz", data, brain, of_rat) == []


def test_only_a_given_mask_is_judged_and_only_on_the_reference(head_files, tmp_path, head):
    """The mask belongs to the reference; on another run, where the head has moved, it is a start only."""
    image, mask = head_files
    shifted = save_like(np.roll(head[1], 7, 0), image, tmp_path / "shifted.nii.gz", np.uint8)
    for name, index, n_warnings in (("", 1, 0), ("given", 0, 0), ("given", 1, 1)):
        node = InspectInputs(
            in_files=[image, image], mask_files=[mask, shifted], index=index, given_mask=name
        )
        assert len(node.run(cwd=str(tmp_path)).outputs.warnings) == n_warnings


def test_an_image_that_was_cut_off_is_named(head_files, tmp_path, head):
    """With its share and value; the one that was not is not named."""
    image, mask = head_files
    noisy = head[0] + np.random.default_rng(0).normal(0, 20, head[0].shape)
    whole = save_like(noisy, image, tmp_path / "run-1.nii.gz")
    top = np.percentile(noisy[head[1]], 98)
    cut = save_like(np.minimum(noisy, top), image, tmp_path / "run-2.nii.gz")
    node = InspectInputs(in_files=[whole, cut], mask_files=[mask, mask])
    (warning,) = node.run(cwd=str(tmp_path)).outputs.warnings
    assert warning.startswith("run-2.nii.gz: 2.0% of the brain hold the largest value")
    # Of diffusion series the mean b0 is looked at, whose file says nothing to a user.
    node.inputs.names = ["sub-01_run-1_dwi.nii.gz", "sub-01_run-2_dwi.nii.gz"]
    (warning,) = node.run(cwd=str(tmp_path)).outputs.warnings
    assert warning.startswith("sub-01_run-2_dwi.nii.gz: 2.0% of the brain")


def test_a_result_that_ends_before_the_brain_is_named(head_files, tmp_path, head):
    """Where another image shows more than the reference; the one that is whole is not told of."""
    image, mask = head_files
    inside = head[1].copy()
    inside[..., -1] = inside[..., inside.shape[2] // 2]
    cut = save_like(inside, image, tmp_path / "cut.nii.gz", np.uint8)
    node = InspectInputs(in_files=[image, image], mask_files=[cut, mask], names=["slab", "whole"])
    (warning,) = node.run(cwd=str(tmp_path)).outputs.warnings
    assert (
        warning.startswith("slab: its field of view cuts the brain")
        and "although whole shows more" in warning
    )
    node.inputs.index = 1
    assert node.run(cwd=str(tmp_path)).outputs.warnings == []


def test_images_without_skull_are_recognised(head_files, tmp_path, head):
    """All of them must be zero outside of the brain, whatever the mask leaves at its border."""
    image, mask = head_files
    brain = save_like(head[0] * ndimage.binary_dilation(head[1]), image, tmp_path / "brain.nii.gz")
    for files, expected in (([brain, brain], True), ([brain, image], False)):
        node = InspectInputs(in_files=files, mask_files=[mask, mask])
        assert node.run(cwd=str(tmp_path)).outputs.skull_stripped is expected
