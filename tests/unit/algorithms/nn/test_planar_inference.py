"""Laws of prediction in tiles: they do not show."""

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.nn import planar_inference
from n2a_bids.algorithms.nn.networks import ImageUNet


@pytest.mark.parametrize("flips", [((),), planar_inference.FLIPS])
def test_tiles_do_not_show(flips, monkeypatch):
    """Small and large tiles give one image, also where the edge is no multiple of the stride."""
    monkeypatch.setattr(planar_inference, "precision_for", lambda device: torch.float32)
    torch.manual_seed(0)
    network = ImageUNet(widths=(4, 8, 8), depths=(1, 1, 1)).eval()
    image = np.random.default_rng(1).standard_normal((151, 130)).astype(np.float32)
    noise_sd = np.linspace(0.5, 1, 130, dtype=np.float32) * np.ones_like(image)
    whole, tiled = (
        planar_inference.predict_plane(
            network, image, noise_sd, device=torch.device("cpu"), tile_edge=edge, flips=flips
        )
        for edge in (512, 50)
    )
    assert np.abs(whole - image).std() > 0.01
    np.testing.assert_allclose(tiled, whole, atol=2e-5)
