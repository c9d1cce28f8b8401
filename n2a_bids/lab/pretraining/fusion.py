"""``n2a-tools pretrain --network fusion-t1w``: its training blocks made, and its validation."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.algorithms.nn.weights import build_network
from n2a_bids.errors import ConfigError
from n2a_bids.io.files import whole_file, write_whole
from n2a_bids.io.weights import load_weights
from n2a_bids.lab.pretraining.blocks import BlockPretraining, TrainingHead
from n2a_bids.lab.pretraining.fusion_blocks import ROOM, draw_fusion_block
from n2a_bids.lab.pretraining.subjects import check_sizes
from n2a_bids.record.typed_json import JsonObject

_GUIDE = "resunet-t1w"
_RIM = 6
"""Voxels at the faces of a block that are not judged."""

Blocks = list[NDArray[np.float16]]


def make_fusion_blocks(
    folder: Path, heads: list[TrainingHead], config: BlockPretraining, count: int, seed: int
) -> Blocks:
    """Blocks of the folder; those that are missing are made first, some 5 seconds each.

    Parameters
    ----------
    folder : Path
        One file for each block, written whole: a stopped command goes on where it was.
    seed : int
        With the number of a block it determines the block.

    Raises
    ------
    ConfigError
        If the package holds no weights of the network that comes first, or the
        folder holds blocks that were made otherwise.
    BIDSDataError
        If a head is smaller than a block.
    """
    check_sizes(heads, config.block_edge + ROOM)
    weights = load_weights(_GUIDE)
    if weights is None:
        raise ConfigError(f"the package holds no weights of {_GUIDE}, which the fusion follows; install them")
    network = build_network(_GUIDE, weights)
    folder.mkdir(parents=True, exist_ok=True)
    made_with = {"seed": seed, "guide_sha256": weights.sha256, "heads": [head.name for head in heads]}
    _check_recipe(folder / "recipe.json", made_with | {"config": asdict(config)})
    paths = [folder / f"{index:05d}.npy" for index in range(count)]
    for index, path in enumerate(paths):
        if path.is_file():
            continue
        block = draw_fusion_block(heads, config, np.random.default_rng([seed, index]), network)
        with whole_file(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, block)
        sys.stderr.write(f"block {index + 1} of {count}\n")
    return [np.load(path) for path in paths]


def _check_recipe(path: Path, recipe: JsonObject) -> None:
    """Write how the blocks are made, or find that those which lie there were made just so."""
    text = json.dumps(recipe, indent=2)
    if not path.is_file():
        write_whole(path, text)
    elif path.read_text() != text:
        raise ConfigError(
            f"{path}: expected blocks of the same brains, seed and recipe, found those of another call; "
            "name another --checkpoint, or remove the folder"
        )


def validate_fusion(network: nn.Module, blocks: Blocks, device: torch.device) -> dict[str, float]:
    """Mean gain in dB over the estimates that are fused.

    Returns
    -------
    gains : dict
        ``gain_over_nonlocal_db``, its least over the blocks, and ``gain_over_network_db``.
    """
    gains = np.array([_gains(network, block, device) for block in blocks])
    return {
        "gain_over_nonlocal_db": round(float(gains[:, 0].mean()), 3),
        "least_gain_over_nonlocal_db": round(float(gains[:, 0].min()), 3),
        "gain_over_network_db": round(float(gains[:, 1].mean()), 3),
    }


def _gains(network: nn.Module, block: NDArray[np.float16], device: torch.device) -> list[float]:
    patches, estimate, noisy, noise_sd, clean = block.astype(np.float32)
    fused = predict(network, patches, estimate, noisy, noise_sd, device=device)
    inner = (slice(_RIM, -_RIM),) * 3
    own, *others = (np.mean((image - clean)[inner] ** 2) for image in (fused, patches, estimate))
    return [10 * float(np.log10(other / own)) for other in others]
