"""Laws of Noise2Noise on images of one channel."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.nn.training import Schedule
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.strategies import get_strategy
from n2a_bids.algorithms.strategies.anat import noise2noise


@pytest.mark.parametrize("left_right", [0, 2])
def test_predictions_are_mirrored_left_right(left_right, monkeypatch):
    """The mirror image is that of the head, whichever array axis runs left-right."""
    mirrored = []

    def watched(*args, **settings):
        mirrored.append(settings["flips"])
        return predict(*args, **settings)

    monkeypatch.setattr(noise2noise, "predict", watched)
    data = np.random.default_rng(0).normal(5, 1, (2, 16, 16, 16, 1)).astype(np.float32)
    mask = np.zeros(data.shape[1:4], bool)
    mask[2:-2, 2:-2, 2:-2] = True
    config = replace(get_strategy("noise2noise").config("fast"), schedule=Schedule(1, 1, 1e-4))
    repetitions = Repetitions(data, mask, left_right_axis=left_right)
    noise2noise.denoise(repetitions, config, Context(torch.Generator().manual_seed(0)))
    assert mirrored == [((), (left_right,))] * 2
