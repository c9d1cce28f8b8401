"""The brain by a network: grids, units and orientation, with a network that can be reckoned by hand."""

import numpy as np
import torch
from torch import nn

from n2a_bids.algorithms.nn.weights import build_network
from n2a_bids.algorithms.preparation.brain_depth import (
    LOGIT_SCALE,
    MM_PER_UNIT,
    brain_depth,
    brain_of_depth,
    in_view,
)


class _Brightness(nn.Module):
    """Logit 0 at the median of the head."""

    stride = 8

    def forward(self, image, field_of_view):
        return (image - 0.5 * field_of_view) / (LOGIT_SCALE * MM_PER_UNIT)


def _ramp(shape, sizes):
    """Brightness that rises along the second axis by a hundredth of its value at the middle per mm."""
    place = (np.arange(shape[1]) - (shape[1] - 1) / 2) * sizes[1]
    return np.broadcast_to((100 + place)[None, :, None], shape).astype(np.float32)


def test_depth_lies_where_the_image_lies():
    """Whatever the voxels, the border is at the same place in mm, between voxels if need be."""
    for shape, sizes in (((50, 60, 40), (2.0, 1.5, 2.5)), ((30, 21, 25), (3.5, 3.5, 4.2))):
        depth = brain_depth(_Brightness(), _ramp(shape, sizes), sizes)
        assert depth.shape == shape
        place = (np.arange(shape[1]) - (shape[1] - 1) / 2) * sizes[1]
        inner = np.abs(place) < 20
        assert np.allclose(depth[:, inner], (place[inner] / 200)[None, :, None], atol=2e-3)


def test_gain_and_padding_change_nothing():
    """The network sees the same of an image in another unit; what lies outside of it is not looked at."""
    image = torch.rand(8, 8, 8) + 0.5
    view = torch.ones_like(image)
    assert torch.allclose(in_view(37 * image, view), in_view(image, view))
    view[:4] = 0
    other = image.clone()
    other[:4] = 1000
    assert torch.allclose(in_view(other, view)[4:], in_view(image, view)[4:])
    assert not in_view(torch.zeros_like(image), view).any()


def test_left_and_right_are_alike():
    """An image and its mirror image give mirrored depths, by any network."""
    torch.manual_seed(0)
    network = build_network("brain-mask", None)
    image = np.random.default_rng(0).random((48, 56, 48), np.float32)
    depth, other = (brain_depth(network, one, (4.0, 4.0, 4.0)) for one in (image, image[::-1].copy()))
    assert depth.std() > 0 and np.allclose(depth, other[::-1], atol=1e-4)


def test_a_brain_is_one_piece_without_holes():
    """Other pieces go, holes are filled, the border lies 1.5 mm outside of tissue; nothing stays nothing."""
    image = np.ones((20, 20, 20), np.float32)
    depth = np.full(image.shape, -5.0)
    depth[4:14, 4:14, 4:14] = 1
    depth[14, 4:14, 4:14] = -1
    whole = depth > -5
    depth[9, 9, 9], depth[17:19, 17:19, 17:19] = -5, 1
    assert np.array_equal(brain_of_depth(depth, image, (2.0, 2.0, 2.0)), whole)
    assert not brain_of_depth(np.full_like(depth, -5), image, (2.0, 2.0, 2.0)).any()


def test_what_hung_on_by_a_dark_thread_is_no_brain():
    """Trimming the dark border leaves one piece, and no hole."""
    image = np.ones((24, 20, 20), np.float32)
    depth = np.full(image.shape, -5.0)
    depth[4:15, 4:15, 4:15] = 1
    whole = depth > 0
    depth[15:18, 9, 9], depth[18:21, 8:11, 8:11] = 1, 1
    image[15:18, 9, 9] = 0
    assert np.array_equal(brain_of_depth(depth, image, (2.0, 2.0, 2.0)), whole)
