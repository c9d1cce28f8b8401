"""Laws of cutting out and putting together."""

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.nn.blocks import (
    BlockSampler,
    blend,
    cover_mask,
    draw_orientation,
    orient,
    plan_blocks,
)


@pytest.mark.parametrize("edge", [5, 8, 20])
def test_blend_of_extracted_blocks_gives_the_image_back(edge):
    """blend(extract(x)) == x on the covered box."""
    image = np.random.default_rng(0).standard_normal((14, 11, 9)).astype(np.float32)
    boxes = cover_mask(np.ones(image.shape, bool), edge)
    blocks = [image[box] for box in boxes]
    np.testing.assert_allclose(blend(blocks, boxes, image.shape), image, atol=1e-5)


def test_cover_mask_reaches_every_voxel_of_the_mask():
    """No voxel of the mask lies outside the blocks, also where the brain is smaller than a block."""
    mask = np.zeros((20, 30, 12), bool)
    mask[15:20, 2:27, 4:9] = True
    covered = np.zeros(mask.shape, bool)
    for box in cover_mask(mask, 10):
        covered[box] = True
        assert covered[box].shape == (10, 10, 10)
    assert covered[mask].all()


def test_plan_blocks_writes_every_voxel_once():
    """The cores are a partition of the volume."""
    written = np.zeros((12, 8, 20), int)
    for block in plan_blocks(written.shape, (8, 4, 12), halo=4, stride=4):
        written[block.core] += 1
        assert all(
            box.start <= core.start and core.stop <= box.stop for box, core in zip(block.box, block.core)
        )
    assert (written == 1).all()


def test_plan_blocks_refuses_sizes_off_the_stride():
    """Blocks that would shift the pooling grid are an error."""
    with pytest.raises(ValueError, match="multiples of 4"):
        list(plan_blocks((10, 8, 8), (8, 8, 8), halo=4, stride=4))


def test_sampled_blocks_lie_inside_the_volume():
    """Every drawn block has the asked size and stays inside."""
    mask = np.zeros((21, 16, 30), bool)
    mask[0, 0, 0] = mask[20, 15, 29] = True
    generator = torch.Generator().manual_seed(0)
    sampler = BlockSampler.over(mask, 48, generator, stride=4)
    for _ in range(50):
        box = sampler.draw(generator)
        assert np.zeros(mask.shape)[box].shape == (16, 16, 16)


def test_blocks_that_are_never_turned_fill_the_long_axes():
    mask = np.ones((40, 9, 50), bool)
    generator = torch.Generator().manual_seed(0)
    sampler = BlockSampler.over(mask, 32, generator, stride=1, cubes=False)
    assert np.zeros(mask.shape)[sampler.draw(generator)].shape == (32, 9, 32)


def test_orientations_only_move_voxels():
    """An orientation is a permutation of the voxels of every channel."""
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(2, 4, 4, 4)
    for _ in range(10):
        turned = orient(block, *draw_orientation(generator))
        torch.testing.assert_close(turned.flatten(1).sort(1).values, block.flatten(1).sort(1).values)
