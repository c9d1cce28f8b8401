"""Loads clean brains and heads of subjects from files, to pretrain or validate with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from n2a_bids.algorithms.masked_filters import largest_piece
from n2a_bids.algorithms.nn.inference import predict
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import whole_file, without_extension
from n2a_bids.io.images import UNREADABLE
from n2a_bids.lab.pretraining.blocks import TrainingHead, check_size, distance_to_brain
from n2a_bids.lab.simulation.runs import add_noise

_SHELL_VOXELS = 18
"""Air that is added around a stripped brain, for simulated shells."""

_HEAD_SHARE = 4.0
"""Whole heads are few: each is drawn this often for one draw of a brain."""

_VALIDATION_EDGE = 80


def load_heads(brains: Iterable[Path], heads: Iterable[tuple[Path, Path]]) -> list[TrainingHead]:
    """Read skull-stripped brains, and whole heads with their masks.

    Parameters
    ----------
    brains : iterable of Path
        Images that are zero outside of the brain.
    heads : iterable of (Path, Path)
        T1w image and brain mask.

    Raises
    ------
    BIDSDataError
        If an image cannot be read or has no brain in it.
    """
    loaded = [_load_brain(path) for path in brains]
    for image_path, mask_path in heads:
        image = np.clip(_read(image_path), 0, None)
        mask = _read(mask_path) > 0
        loaded.append(
            TrainingHead(without_extension(image_path), _scale(image, mask), mask, share=_HEAD_SHARE)
        )
    return loaded


def check_sizes(heads: Iterable[TrainingHead], block_edge: int) -> None:
    """Find at the start, and not when it is drawn, a head that no block fits into.

    Raises
    ------
    BIDSDataError
    """
    for head in heads:
        try:
            check_size(head, block_edge)
        except ValueError as error:
            raise BIDSDataError(f"{error}; leave it out, or resample it to cubic voxels") from error


def pack_heads(heads: Iterable[TrainingHead], path: Path) -> None:
    """Write training images as 8-bit integers with a step size, compressed.

    The distance to the brain, which is large, is left to the reader: it follows from the mask.

    Parameters
    ----------
    heads : iterable of TrainingHead
    path : Path
        The ``.npz`` file.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for head in heads:
        step = np.float32(head.image.max() / 255)
        arrays[f"{head.name}/image"] = np.round(head.image.astype(np.float32) / step).astype(np.uint8)
        arrays[f"{head.name}/step"] = np.array(step)
        arrays[f"{head.name}/share"] = np.array(head.share)
        arrays[f"{head.name}/brain"] = head.brain
        arrays[f"{head.name}/is_stripped"] = np.array(head.distance is not None)
    with whole_file(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def _load_brain(path: Path) -> TrainingHead:
    image = _read(path)
    positive = image[image > 0]
    if positive.size == 0:
        raise BIDSDataError(f"{path}: expected a skull-stripped brain, found no positive voxel; leave it out")
    image = np.clip(image, 0, np.percentile(positive, 99.95))
    image = np.pad(_crop(image), _SHELL_VOXELS)
    brain = _largest_part(image > 0.05 * np.percentile(positive, 90))
    return TrainingHead(
        without_extension(path), _scale(image, brain), brain, distance=distance_to_brain(brain)
    )


def _crop(image: NDArray[np.float32]) -> NDArray[np.float32]:
    voxels = np.argwhere(image > 0)
    return image[tuple(slice(low, high + 1) for low, high in zip(voxels.min(axis=0), voxels.max(axis=0)))]


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return ndimage.binary_fill_holes(largest_piece(ndimage.binary_opening(mask)))


def _scale(image: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float16]:
    return (image / image[brain].std()).astype(np.float16)


def _read(path: Path) -> NDArray[np.float32]:
    try:
        return np.squeeze(nib.load(path).get_fdata(dtype=np.float32))
    except UNREADABLE as error:
        raise BIDSDataError(
            f"{path}: expected a NIfTI image to learn from, found none that can be read ({error}); correct "
            "the path or leave it out"
        ) from error


def validate(network: nn.Module, heads: list[TrainingHead], device: torch.device) -> dict[str, float]:
    """PSNR of the mean of two Rician repetitions, denoised at the true level, in a central block.

    Returns
    -------
    psnr_db : dict
        Noise SD of the mean, as ``psnr_0.15``, to the mean PSNR over `heads`.
    """
    result = {}
    for noise_sd in (0.15, 0.3, 0.6):
        values = [_validate_one(network, head, noise_sd, index, device) for index, head in enumerate(heads)]
        result[f"psnr_{noise_sd}"] = round(float(np.mean(values)), 3)
    return result


def _validate_one(
    network: nn.Module, head: TrainingHead, noise_sd: float, seed: int, device: torch.device
) -> float:
    edge = min(_VALIDATION_EDGE, *head.image.shape)
    box = tuple(slice((size - edge) // 2, (size - edge) // 2 + edge) for size in head.image.shape)
    clean, inside = head.image[box].astype(np.float32), head.brain[box]
    rng = np.random.default_rng(100 + seed)
    runs = [add_noise(clean, noise_sd * float(np.sqrt(2)), "rician", rng) for _ in range(2)]
    noisy = np.mean(runs, axis=0, dtype=np.float32)
    offset = np.float32(head.sample.mean())
    level = np.full(clean.shape, noise_sd, np.float32)
    estimate = predict(network, noisy - offset, level, device=device) + offset
    error = np.mean((estimate - clean)[inside] ** 2)
    return 10 * float(np.log10((clean[inside].max() - clean[inside].min()) ** 2 / error))
