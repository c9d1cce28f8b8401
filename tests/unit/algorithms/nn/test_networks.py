"""Laws of the networks."""

from functools import partial

import pytest
import torch

from n2a_bids.algorithms.nn.networks import FusionUNet, MUNet, ResidualUNet, receptive_radius


def test_munet_has_the_published_number_of_parameters():
    """18 layers of 64 channels and an output layer: 2,327,041 parameters."""
    assert sum(parameter.numel() for parameter in MUNet().parameters()) == 2_327_041


def test_residual_unet_scales_with_its_input():
    """Without biases, scaling image and noise level scales the residual."""
    torch.manual_seed(0)
    network = ResidualUNet(widths=(4, 8), depths=(1, 1)).eval()
    image, noise_sd = torch.randn(1, 1, 8, 8, 8), torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(network(3 * image, 3 * noise_sd), 3 * network(image, noise_sd))


def test_fusion_corrects_nothing_before_training():
    """The last layer starts at zero, so that training starts from what is there."""
    volumes = torch.randn(4, 1, 1, 8, 8, 8)
    assert not FusionUNet(widths=(2, 4), depths=(1, 1))(*volumes).any()


def test_fusion_scales_with_its_inputs():
    """Without biases, scaling all volumes scales the residual."""
    torch.manual_seed(0)
    network = FusionUNet(widths=(2, 4), depths=(1, 1)).eval()
    torch.nn.init.normal_(network.tail.weight)
    volumes = torch.randn(4, 1, 1, 8, 8, 8)
    with torch.no_grad():
        assert network(*volumes).any()
        torch.testing.assert_close(network(*(3 * volumes)), 3 * network(*volumes), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("build", [partial(MUNet, n_channels=2), partial(ResidualUNet, (2, 4, 4), (1, 1, 2))])
def test_receptive_radius_bounds_what_an_output_voxel_sees(build):
    """The gradient of one output voxel is zero beyond the stated radius."""
    network = build()
    for weights in network.parameters():  # positive, as the image is: no rectifier shuts, whatever was drawn
        torch.nn.init.uniform_(weights, 0.1, 1)
    radius = receptive_radius(network)
    size = 2 * radius + 4 * network.stride
    image = torch.rand(1, 1, size, 8, 8, requires_grad=True)
    centre = size // 2
    network(image, torch.ones_like(image))[0, 0, centre, 4, 4].backward()
    reached = image.grad.abs().sum(dim=(0, 1, 3, 4)).nonzero().ravel()
    assert reached.min() >= centre - radius
    assert reached.max() <= centre + radius


def test_widths_and_depths_must_agree():
    """One depth for each width."""
    with pytest.raises(ValueError, match="widths"):
        ResidualUNet(widths=(2, 4), depths=(1,))
