"""Laws of what ``auto`` chooses among."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.noise.covariance import covariance_from_power
from n2a_bids.algorithms.preparation.repetitions import prepare
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.algorithms.risk.candidates import Candidate
from n2a_bids.algorithms.risk.held_out import hold_out
from n2a_bids.algorithms.strategies.anat import auto
from n2a_bids.algorithms.strategies.anat.auto_candidates import with_kernel
from n2a_bids.io.weights import load_weights

SHAPE = (36, 36, 36)


def _spectrum(least=0.1, highest=0.3):
    """Power of noise that is smooth along two axes: `least` beyond a frequency."""
    lines = [least + (1 - least) * (np.abs(np.fft.fftfreq(36)) < highest)] * 2 + [np.ones(36)]
    return np.einsum("x,y,z->xyz", *lines)


@pytest.fixture(scope="module")
def prepared():
    """Two repetitions of a textured ball with such noise."""
    rng = np.random.default_rng(4)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 36)] * 3, indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.85
    clean = mask * (300 + 60 * np.sign(ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2.5)))
    power = _spectrum()
    white = np.fft.fftn(rng.standard_normal((2, *SHAPE)), axes=(1, 2, 3))
    noise = np.fft.ifftn(white * np.sqrt(power / power.mean()), axes=(1, 2, 3)).real
    data = (clean + 40 * noise)[..., None].astype(np.float32)
    return prepare(Repetitions(data, mask, real_valued=True))


def test_noise_correlation_is_mended_by_risk(prepared):
    """What was measured as too little is made more."""
    covariance = covariance_from_power(_spectrum(least=0.3))
    context = Context(generator=torch.Generator().manual_seed(1))
    network = context.new_network("resunet-t1w", load_weights("resunet-t1w"))
    held_out = hold_out(prepared.mask, context.generator, fraction=0.3)
    config = auto.config("zero-shot", load_weights("resunet-t1w"))
    asked = replace(prepared, covariance=covariance)
    found = with_kernel(Candidate("network", network), asked, held_out, 0.0, config, context)
    np.testing.assert_allclose(found.correlation, covariance.patch_correlation(4, 1.5))


def test_white_noise_has_no_kernel(prepared):
    """Nothing is tried where nothing was found."""
    context = Context(generator=torch.Generator().manual_seed(1))
    first = Candidate("network")
    config = auto.config("default")
    held_out = hold_out(prepared.mask, context.generator)
    assert with_kernel(first, replace(prepared, covariance=None), held_out, 0.0, config, context) is first
