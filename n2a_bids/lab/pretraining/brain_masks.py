"""Training of the brain mask network: label maps, images of random contrast made from them, and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from n2a_bids.algorithms.dataset_training.steps import TrainingBatch
from n2a_bids.algorithms.preparation.brain_depth import LOGIT_SCALE, MM_PER_UNIT
from n2a_bids.algorithms.quality.mask_checks import dice
from n2a_bids.lab.simulation.label_images import LabelImage, draw_label_image, mirrored
from n2a_bids.lab.simulation.label_maps import (
    LabelMap,
    layered,
    read_brain,
    read_surroundings,
    transplanted,
)

_BORDER_WEIGHT, _BORDER_MM = 4.0, 6.0
_VALIDATION_IMAGES = 16


def make_maps(brains: Sequence[Path], heads: Sequence[tuple[Path, Path]], seed: int) -> list[LabelMap]:
    """Every brain in the surroundings of every head, and once in random layers.

    Parameters
    ----------
    brains : sequence of Path
        Skull-stripped T1w images, zero outside.
    heads : sequence of two Paths each
        T1w heads and their brain masks; may be empty.
    """
    rng = np.random.default_rng(seed)
    surroundings = [read_surroundings(head, mask, rng) for head, mask in heads]
    maps = []
    for path in brains:
        brain = read_brain(path, rng)
        maps += [transplanted(brain, around, rng) for around in surroundings] + [layered(brain, rng)]
    return maps


@dataclass(slots=True)
class BrainMaskLessons:
    """Draws batches; every image comes a second time as its mirror image in another contrast."""

    maps: Sequence[LabelMap]
    batch_size: int
    _last: list[LabelImage] = field(default_factory=list)

    def draw(self, rng: np.random.Generator) -> TrainingBatch:
        """The next batch."""
        if self._last:
            images = [mirrored(image, rng) for image in self._last]
            self._last = []
        else:
            chosen = rng.integers(len(self.maps), size=self.batch_size)
            images = self._last = [draw_label_image(self.maps[index], rng) for index in chosen]
        return _batch(images)


def brain_loss(_image: Tensor, output: Tensor, batch: TrainingBatch) -> Tensor:
    """Cross-entropy with, and Dice distance from, the depth in the brain turned to a probability.

    The border counts five times; what lies outside of the field of view does not count.
    """
    logit, view = output * LOGIT_SCALE, batch.inputs[1]
    truth = torch.sigmoid(batch.target / MM_PER_UNIT)
    entropy = F.binary_cross_entropy_with_logits(logit, truth, reduction="none") * batch.weight
    found, truth = torch.sigmoid(logit) * view, truth * view
    overlap = (2 * (found * truth).sum() + 1) / ((found**2).sum() + (truth**2).sum() + 1)
    return entropy.sum() / batch.weight.sum() + 1 - overlap


def validate_masks(network: nn.Module, maps: Sequence[LabelMap], device: torch.device) -> dict[str, float]:
    """Mean Dice coefficient on images of brains that were not learned from, always the same."""
    values = []
    for index in range(_VALIDATION_IMAGES):
        image = draw_label_image(maps[index % len(maps)], np.random.default_rng(100 + index))
        batch = _batch([image])
        with torch.no_grad():
            found = network(*(tensor.to(device) for tensor in batch.inputs)).cpu() > 0
        seen = image.field_of_view > 0
        values.append(dice((found[0, 0] & seen).numpy(), ((image.depth_mm > 0) & seen).numpy()))
    return {"dice": round(float(np.mean(values)), 4)}


def _batch(images: Sequence[LabelImage]) -> TrainingBatch:
    shown, view, depth = (
        torch.stack(parts)[:, None]
        for parts in zip(*((one.shown, one.field_of_view, one.depth_mm) for one in images), strict=True)
    )
    weight = view * (1 + _BORDER_WEIGHT * torch.exp(-((depth / _BORDER_MM) ** 2)))
    return TrainingBatch((shown, view), depth, weight)
