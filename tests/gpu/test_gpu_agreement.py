"""GPU and CPU give the same image, within what bfloat16 leaves open."""

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.inference import predict
from n2a_bids.algorithms.network import MUNet, ResidualUNet

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("build", [ResidualUNet, MUNet])
def test_gpu_and_cpu_predictions_agree(build):
    """Differences stay below 0.05 of the noise SD of the input."""
    torch.manual_seed(0)
    network = build().eval()
    image = np.random.default_rng(0).standard_normal((48, 48, 48)).astype(np.float32)
    noise_sd = np.ones(image.shape, np.float32)
    on_cpu = predict(network, image, noise_sd, device=torch.device("cpu"))
    on_gpu = predict(network.to("cuda"), image, noise_sd, device=torch.device("cuda"))
    np.testing.assert_allclose(on_gpu, on_cpu, atol=0.05)
