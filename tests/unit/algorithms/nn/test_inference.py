"""Laws of prediction: memory decides in which parts a volume is denoised, never what comes out."""

import numpy as np
import pytest
import torch

from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.nn.networks import FusionUNet, MUNet, ResidualUNet

CPU = torch.device("cpu")


def _volumes(shape, number):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(number)]


def _trained(network):
    """With weights that let every level be seen in the result."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
            torch.nn.init.normal_(module.weight, std=0.1)
    return network.eval()


@pytest.mark.parametrize("memory_gb", [2e-3, 6e-4, 1e-5])
@pytest.mark.parametrize(
    ("network", "n_volumes"),
    [
        (ResidualUNet(widths=(3, 4, 6), depths=(1, 2, 2)), 2),
        (FusionUNet(widths=(3, 6)), 4),
        (MUNet(n_channels=2), 2),
    ],
    ids=["three levels", "fusion", "one level"],
)
def test_less_memory_gives_the_same_image(network, n_volumes, memory_gb):
    """In blocks, or level by level: each part is read with all that it depends on."""
    volumes = _volumes((37, 26, 41), n_volumes)
    kept = [volume.copy() for volume in volumes]
    network = _trained(network)
    whole = predict(network, *volumes, device=CPU)
    assert np.abs(whole - volumes[0]).std() > 1e-3
    in_parts = predict(network, *volumes, device=CPU, memory_gb=memory_gb)
    np.testing.assert_allclose(in_parts, whole, atol=1e-5 * np.abs(whole).max())
    np.testing.assert_array_equal(volumes, kept)


@pytest.mark.parametrize("part", [0.9, 0.5, 0.3])
def test_less_memory_takes_little_more_time(part):
    """The default network sees 68 voxels far by its coarse levels: blocks of it would be nearly all halo."""
    shape = (88, 96, 104)
    network = ResidualUNet(widths=(1, 1, 1))
    voxels = dict.fromkeys(("head", "encoder", "bottom"), 0)
    for name, module in (
        ("head", network.head),
        ("encoder", network.encoder[1]),
        ("bottom", network.bottom),
    ):

        def count(module, inputs, output, name=name):
            voxels[name] += output[0, 0].numel()

        module.register_forward_hook(count)
    predict(network.eval(), *_volumes(shape, 2), device=CPU, memory_gb=part * 5 * 4 * np.prod(shape) / 1e9)
    finest = np.prod([size + 8 for size in shape])
    work = [voxels[name] / finest * 8**level for level, name in enumerate(voxels)]
    assert max(work) < 5
    assert min(work) >= 1
