"""Batches come from other processes as from this one, each of them new."""

from functools import partial

import numpy as np
import pytest
from gpu.batches_ahead import draw_ahead

from n2a_bids.lab.pretraining.blocks import BlockPretraining, TrainingHead, draw_batch


@pytest.mark.parametrize("n_workers", [0, 2])
def test_batches_are_new_and_of_the_right_shape(n_workers):
    """Two workers have seeds of their own, and what comes first is finite."""
    image = np.random.default_rng(0).random((24, 24, 24)).astype(np.float32) + 1
    config = BlockPretraining(block_edge=16, batch_size=2)
    draw = partial(draw_batch, [TrainingHead("a", image, image > 0)], config)
    take = draw_ahead(draw, 7, 0, n_workers)
    batches = [take(np.random.default_rng(0)) for _ in range(4)]
    assert all(batch.target.shape == (2, 1, 16, 16, 16) for batch in batches)
    assert all(one.isfinite().all() for batch in batches for one in (*batch.inputs, batch.weight))
    assert len({float(batch.inputs[0].sum()) for batch in batches}) == 4
