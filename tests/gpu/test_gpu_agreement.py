"""GPU and CPU give the same image, within what bfloat16 leaves open."""

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.nn.cuda_graphs import record_cuda_graph
from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.nn.networks import MUNet, ResidualUNet
from n2a_bids.algorithms.nn.training import Batch, Schedule, fit

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


@pytest.mark.parametrize("build", [ResidualUNet, MUNet])
def test_recorded_steps_learn_what_plain_ones_learn(build):
    """Kernels are the same, so losses differ by the order of sums alone."""
    cuda = torch.device("cuda")
    batches = [torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(n)) for n in range(10)]
    losses = []
    for recorder in (None, record_cuda_graph):
        torch.manual_seed(0)
        network = build().to(cuda, memory_format=torch.channels_last_3d)
        drawn = iter(noisy.to(cuda) for noisy in batches)

        def draw(drawn=drawn):
            noisy = next(drawn)
            return Batch(noisy, torch.full_like(noisy, 0.3), 0.5 * noisy, torch.ones_like(noisy))

        losses.append(fit(network, draw, Schedule(5, 2, 1e-4), device=cuda, recorder=recorder))
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert losses[1][-1] < losses[1][0]
