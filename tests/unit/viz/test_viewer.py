"""Images of the viewer: nothing but the brain, one grey window, small enough, and true to the files."""

from __future__ import annotations

import base64
import gzip

import nibabel as nb
import numpy as np
import pytest

from n2a_bids.viz.viewer import MARGIN_MM, ViewerGroup, encode_groups

AFFINE = np.array([[0.0, 2, 0, -30], [-2, 0, 0, 44], [0, 0, 3, -20], [0, 0, 0, 1]])


def decoded(image) -> nb.Nifti1Image:
    """The NIfTI image inside a record."""
    return nb.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(image.nifti)))


@pytest.fixture
def group(head) -> tuple[ViewerGroup, np.ndarray]:
    """A noisy head, its mean of two and its truth as the denoised image."""
    truth, mask = head
    noise = np.random.default_rng(1).normal(0, 40, (2, *truth.shape))
    images = (truth + noise).astype(np.float32)
    truth = truth.astype(np.float32)
    maps = np.full(truth.shape, 40, np.float32)
    return ViewerGroup(images.mean(axis=0), truth, "", images[0], maps, maps / 2), mask


def test_nothing_beyond_the_brain_is_in_the_page(group, head):
    """Farther from the mask than the margin every image is constant, so that no face can be made to show."""
    images, mask = group
    record = encode_groups([images], mask, AFFINE)
    distance_mm = 2 * np.linalg.norm(np.argwhere(~mask)[:, None] - np.argwhere(mask)[None, ::37], axis=2).min(
        1
    )
    far = np.argwhere(~mask)[distance_mm > 3 * MARGIN_MM]
    assert len(far) > 1000
    assert record.coverage == "brain"
    for image in record.images:
        assert np.ptp(values_at(image, far)) == 0, image.name
    whole = encode_groups([images], mask, AFFINE, whole_head=True)
    scalp = np.argwhere((head[0] > 500) & ~mask)
    assert values_at(whole.images[1], scalp).mean() > 500
    # The corners of the image are air, whose noise is not worth its room.
    assert np.ptp(values_at(whole.images[1], np.argwhere(np.ones((2, 2, 2))))) == 0


def values_at(image, voxels: np.ndarray) -> np.ndarray:
    """Intensities at voxels of the grid of the files; those of empty voxels where the viewer has none."""
    shown = decoded(image)
    places = nb.affines.apply_affine(np.linalg.inv(shown.affine) @ AFFINE, voxels).round().astype(int)
    inside = ((places >= 0) & (places < shown.shape)).all(axis=1)
    # Every corner of the box is empty.
    values = np.full(len(voxels), shown.get_fdata()[0, 0, 0])
    values[inside] = shown.get_fdata()[tuple(places[inside].T)]
    return values


def test_an_empty_mask_shows_nothing(group):
    """Without a brain nobody knows where the face is."""
    with pytest.raises(ValueError, match="nothing that the viewer may show"):
        encode_groups([group[0]], np.zeros_like(group[1]), AFFINE)


def test_before_and_after_share_one_window_and_the_values_of_the_files(group):
    """In the brain, what the viewer shows is the image to half a grey level, in the place that it has."""
    images, mask = group
    record = encode_groups([images], mask, AFFINE)
    named = {image.name: image for image in record.images}
    assert list(named) == ["one repetition", "mean", "denoised", "residual", "noise map", "expected error"]
    windows = {(named[name].low, named[name].high) for name in ("one repetition", "mean", "denoised")}
    assert len(windows) == 1
    for name, values in (("mean", images.mean), ("residual", images.mean - images.denoised)):
        step = decoded(named[name]).dataobj.slope
        inside = mask & (values > named[name].low) & (values < named[name].high)
        assert inside.sum() > 0.9 * mask.sum()
        error = values_at(named[name], np.argwhere(inside)) - values[inside]
        assert np.abs(error).max() < 0.52 * step
    assert named["residual"].low == -named["residual"].high


def test_the_kept_mean_has_no_residual(group):
    """Where nothing was taken away there is no picture of it."""
    images, mask = group
    record = encode_groups([ViewerGroup(images.mean, images.mean)], mask, AFFINE)
    assert [image.name for image in record.images] == ["mean", "denoised"]


def test_size_is_kept_by_fewer_levels_and_only_then_by_larger_voxels(group):
    """A page has an upper size; coarse voxels, which hide noise, are the last resort and keep their place."""
    images, mask = group
    full = encode_groups([images], mask, AFFINE)
    coarse = encode_groups([images], mask, AFFINE, largest=int(0.9 * full.n_characters))
    assert (coarse.coarsening, full.n_levels) == (1, 256)
    assert coarse.n_levels < 256
    tiny = encode_groups([images], mask, AFFINE, largest=full.n_characters // 8)
    assert tiny.n_characters <= full.n_characters // 8
    assert tiny.coarsening == 2
    # Where the head is bright stays where it is in the world.
    centres = []
    for record in (tiny, full):
        shown = decoded(record.images[2])
        weights = shown.get_fdata() - shown.get_fdata().min()
        voxel = [(np.indices(weights.shape)[axis] * weights).sum() / weights.sum() for axis in range(3)]
        centres.append(nb.affines.apply_affine(shown.affine, voxel))
    assert np.allclose(*centres, atol=1.0)
