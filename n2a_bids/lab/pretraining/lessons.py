"""What each pretrained network learns from, and what tells how well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from n2a_bids.algorithms.dataset_training.steps import Loss, TrainingBatch, residual_loss
from n2a_bids.errors import ConfigError
from n2a_bids.lab.pretraining.blocks import BlockPretraining, TrainingHead, draw_batch
from n2a_bids.lab.pretraining.brain_masks import BrainMaskLessons, brain_loss, make_maps, validate_masks
from n2a_bids.lab.pretraining.config import BRAIN_MASKS, FUSION, IMAGES, PretrainConfig
from n2a_bids.lab.pretraining.fusion import make_fusion_blocks, validate_fusion
from n2a_bids.lab.pretraining.fusion_blocks import draw_fusion_batch
from n2a_bids.lab.pretraining.images import (
    ImagePretraining,
    check_edge,
    draw_image_batch,
    make_bank,
    validate_images,
)
from n2a_bids.lab.pretraining.subjects import check_sizes, load_heads, validate

_VALIDATION_DRAWINGS = 12
_VALIDATION_BLOCKS = 24


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is learned, and what tells how well."""

    draw: Callable[[np.random.Generator], TrainingBatch]
    validate: Callable[[nn.Module], dict[str, float]]
    loss_of: Loss = residual_loss


def prepare_lesson(asked: PretrainConfig, config: BlockPretraining, device: torch.device) -> Lesson:
    """Read the brains and heads, and make of them what the network learns from."""
    if asked.network == BRAIN_MASKS:
        return _prepare_brain_masks(asked, device)
    heads, held_out = load_heads(asked.brains, head_pairs(asked.heads)), load_heads(asked.validation, [])
    if asked.network == IMAGES:
        return _prepare_images(asked, heads, held_out, device)
    if asked.network != FUSION:
        check_sizes(heads, config.block_edge)
        return Lesson(partial(draw_batch, heads, config), partial(validate, heads=held_out, device=device))
    folder, seed = asked.checkpoint.with_suffix(".blocks"), asked.random_seed
    blocks = make_fusion_blocks(folder / "training", heads, config, asked.blocks, seed)
    count = min(asked.blocks, _VALIDATION_BLOCKS)
    unseen = make_fusion_blocks(folder / "validation", held_out, config, count, seed + 1)
    return Lesson(
        partial(draw_fusion_batch, blocks, config), partial(validate_fusion, blocks=unseen, device=device)
    )


def _prepare_images(
    asked: PretrainConfig, heads: list[TrainingHead], held_out: list[TrainingHead], device: torch.device
) -> Lesson:
    check_edge(asked.block_edge)
    bank = make_bank(asked.drawings, heads, asked.random_seed)
    unseen = make_bank(_VALIDATION_DRAWINGS, held_out, asked.random_seed + 1)
    recipe = ImagePretraining(block_edge=asked.block_edge, batch_size=asked.batch_size)
    draw = partial(draw_image_batch, bank, recipe)
    return Lesson(draw, partial(validate_images, bank=unseen, device=device))


def _prepare_brain_masks(asked: PretrainConfig, device: torch.device) -> Lesson:
    pairs, seed = head_pairs(asked.heads), asked.random_seed
    maps, unseen = make_maps(asked.brains, pairs, seed), make_maps(asked.validation, pairs, seed + 1)
    validate = partial(validate_masks, maps=unseen, device=device)
    return Lesson(BrainMaskLessons(maps, asked.batch_size).draw, validate, brain_loss)


def head_pairs(texts: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Heads and their masks, as ``--heads`` names them.

    Raises
    ------
    ConfigError
        Where a mask is missing.
    """
    pairs = []
    for text in texts:
        parts = str(text).split(",")
        if len(parts) != 2:
            raise ConfigError(f"--heads: expected T1W,MASK, found {text}")
        pairs.append((Path(parts[0]), Path(parts[1])))
    return pairs
