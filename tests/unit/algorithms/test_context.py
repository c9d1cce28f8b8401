"""What strategies are given: networks from seeds, and training that is told of."""

import torch
from torch import nn

from n2a_bids.algorithms.context import Context
from n2a_bids.algorithms.nn.training import Batch, Schedule


class _Gain(nn.Module):
    """Predicts a multiple of the image."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.rand(1))

    def forward(self, image, noise_sd):
        return self.gain * image


def test_a_seed_decides_on_the_first_weights_and_nothing_else():
    """The same seed gives the same bits, another one others; the caller loses no random number."""
    context = Context(torch.Generator().manual_seed(0))
    before = torch.random.get_rng_state()
    seeds = [context.draw_seed(), context.draw_seed()]
    first, again, other = (context.make_network(_Gain, seed).gain.item() for seed in (*seeds[:1], *seeds))
    assert first == again != other
    assert torch.equal(before, torch.random.get_rng_state())
    assert Context(torch.Generator().manual_seed(0)).draw_seed() == seeds[0]


def test_training_tells_each_epoch():
    """The phase by its name, with the losses that are returned."""
    told = []
    context = Context(torch.Generator().manual_seed(0), report=told.append, clock=lambda: 0.0)
    image = torch.ones(1, 1, 2, 2, 2)
    batch = Batch(noisy=image, noise_sd=image, target=2 * image, weight=image)
    network = context.make_network(_Gain, context.draw_seed())
    losses = context.train(network, lambda: batch, Schedule(2, 5, 0.1), "fine-tuning")
    assert losses[1] < losses[0]
    assert told == [f"fine-tuning epoch {n}/2, loss {loss:.4f}" for n, loss in enumerate(losses, 1)]
