"""What repetitions are brought to before they are denoised, and the way back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from n2a_bids.algorithms.preparation.repetitions import prepare, restore
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.record.denoising import StrategyRecord


@pytest.mark.parametrize("noise_sds", [(3.0, 1.0), (1.0, 3.0), (2.4, 1.2), (2.0, 2.0)])
def test_the_result_is_as_bright_as_the_head_whichever_run_is_the_noisiest(noise_sds):
    """The noise floor of the first run does not come back with its intensity: 0.7 at a signal of 5."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 40)] * 3, indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.4
    clean = mask * (5 + np.sin(5 * grid).sum(axis=0) / 2)
    noise = np.random.default_rng(5).standard_normal((2, 2, *clean.shape))
    sds = np.array(noise_sds)[:, None, None, None]
    data = np.hypot(clean + sds * noise[0], sds * noise[1]).astype(np.float32)
    variances = np.square(noise_sds)
    prepared = prepare(Repetitions(data[..., None], mask))
    prepared = replace(prepared, weighting=prepared.weighting.for_noise(variances / variances.mean()))
    assert prepared.magnitude is not None
    bias = prepared.bias(prepared.scales[0].apply(clean), prepared.repetition_noise_sd)
    found = restore(prepared, prepared.average - bias, StrategyRecord()).data[..., 0]
    brightness = [float(image[mask].mean()) for image in (found, data[0], clean)]
    assert abs(brightness[0] - brightness[2]) < 0.25
    assert noise_sds[0] < 3 or brightness[1] - brightness[2] > 0.7
