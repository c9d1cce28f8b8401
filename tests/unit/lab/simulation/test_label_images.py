"""Label maps and the images of random contrast made from them."""

import nibabel as nb
import numpy as np
import pytest
import torch

from n2a_bids.lab.pretraining.brain_masks import BrainMaskLessons, brain_loss, make_maps
from n2a_bids.lab.simulation.label_images import draw_label_image, mirrored
from n2a_bids.lab.simulation.label_maps import FLUID, TISSUES


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """A textured ball of 60 mm radius as brain, alone and in a larger ball as head."""
    folder = tmp_path_factory.mktemp("balls")
    grid = np.stack(np.meshgrid(*[np.arange(-90, 91, 2.0)] * 3, indexing="ij"))
    radius = np.sqrt((grid**2).sum(axis=0))
    texture = np.random.default_rng(0).uniform(200, 400, radius.shape)
    images = {"brain": texture * (radius < 60), "mask": radius < 60, "head": texture * (radius < 80)}
    for name, image in images.items():
        nb.save(nb.Nifti1Image(image.astype(np.float32), np.diag([2.0, 2, 2, 1])), folder / f"{name}.nii.gz")
    return make_maps([folder / "brain.nii.gz"], [(folder / "head.nii.gz", folder / "mask.nii.gz")], seed=0)


def test_depth_is_that_of_the_brain(maps):
    """Tissue is deep, what lies around is not; 10 mm along the radius are 10 mm."""
    assert len(maps) == 2
    for one in maps:
        depth = one.depth_mm()
        is_tissue = np.isin(one.labels, TISSUES)
        assert (depth[is_tissue] > 0).mean() > 0.99 and (depth[one.labels > FLUID] < 0).mean() > 0.99
        middle = np.array(one.labels.shape) // 2
        middle[2] = 66
        profile = depth[middle[0] :, middle[1], middle[2]]
        assert abs((profile[20] - profile[25]) - 10) < 1.5


def test_images_come_from_their_seed(maps):
    """The same numbers give the same image; what is out of view is zero; truth and view have one grid."""
    for seed in range(4):
        image, again = (draw_label_image(maps[seed % 2], np.random.default_rng(seed)) for _ in range(2))
        assert torch.equal(image.shown, again.shown)
        other = mirrored(image, np.random.default_rng(seed))
        for one in (image, other):
            assert one.shown.shape == one.depth_mm.shape == one.field_of_view.shape
            assert one.shown.isfinite().all() and not one.shown[one.field_of_view == 0].any()
        assert torch.equal(other.depth_mm.flip(0), image.depth_mm)


def test_the_truth_has_the_least_loss(maps):
    """A network that gave the true depth would learn nothing more: one that is 2 mm off would."""
    batch = BrainMaskLessons(maps, batch_size=1).draw(np.random.default_rng(0))
    losses = [brain_loss(batch.inputs[0], (batch.target + off) / 8, batch).item() for off in (0.0, 2.0, -2.0)]
    assert losses[0] < min(losses[1:])
