"""Reads and writes pretrained weights (safetensors), with the checksum in a model card beside them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from n2a_bids.algorithms.nn.weights import PretrainedWeights, check_fit
from n2a_bids.errors import DenoisingError
from n2a_bids.io.files import content_digest, whole_file, write_whole
from n2a_bids.io.json import json_text
from n2a_bids.packaged import DATA
from n2a_bids.record.typed_json import JsonObject

PACKAGED = DATA / "weights"
"""Weights that come with the package."""


def load_weights(name: str, folder: Path | None = None) -> PretrainedWeights | None:
    """Read pretrained weights and check that they are what the model card says.

    Parameters
    ----------
    name : str
        For example ``resunet-t1w``: the files are ``<name>.safetensors`` and ``<name>.json``, the
        model card, whose key ``sha256`` is the checksum of the first.
    folder : Path or None
        Where they are; None looks into the package.

    Returns
    -------
    weights : PretrainedWeights or None
        None when the package holds none of that name; training then starts from scratch.

    Raises
    ------
    DenoisingError
        If `folder` was named and does not hold them, or the files are damaged or of another network.
    """
    path = (folder or PACKAGED) / f"{name}.safetensors"
    if not path.is_file():
        if folder is None:
            return None
        raise DenoisingError(
            f"{path}: expected pretrained weights, found no such file; correct --weights-dir or "
            "N2A_WEIGHTS_DIR, or leave them out to use those of the package"
        )
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    expected = _expected_checksum(path.with_suffix(".json"))
    if sha256 != expected:
        raise DenoisingError(
            f"{path}: the weights are damaged: expected the SHA-256 {expected} of the model card, found "
            f"{sha256}; copy the file again or install n2a-bids again"
        )
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DenoisingError(f"{path}: this is not a safetensors file ({error}); copy it again") from error
    odd = [key for key, values in tensors.items() if not values.isfinite().all()]
    if odd:
        raise DenoisingError(
            f"{path}: found NaN or infinity in {len(odd)} of {len(tensors)} tensors, "
            f"such as {odd[0]}; "
            "train them again, or leave them out to use those of the package"
        )
    weights = PretrainedWeights(name=name, sha256=sha256, tensors=tensors)
    try:
        check_fit(weights)
    except ValueError as error:
        # Here the file is known; where the network is made, only its name is.
        raise DenoisingError(f"{path}: {error}") from error
    return weights


def load_all_weights(
    names: Sequence[str | None], folder: Path | None = None
) -> tuple[PretrainedWeights | None, ...]:
    """The weights that a strategy starts from, and those that it takes besides.

    Parameters
    ----------
    names : sequence of str or None
        As `load_weights` takes them; ``None`` for a strategy that starts from none.
    folder : Path or None
        It must hold the first; the others come from the package where it does not hold them.

    Raises
    ------
    DenoisingError
        See `load_weights`.
    """
    loaded = []
    for index, name in enumerate(names):
        has = folder is not None and (folder / f"{name}.safetensors").is_file()
        loaded.append(load_weights(name, folder if has or index == 0 else None) if name else None)
    return tuple(loaded)


def save_weights(weights: PretrainedWeights, folder: Path, card: JsonObject) -> Path:
    """Write weights with their model card.

    Parameters
    ----------
    weights : PretrainedWeights
        Its checksum is not looked at: that of the file written goes into the card.
    folder : Path
        Created where needed.
    card : dict
        What else the model card says: training data, seed, licence.

    Returns
    -------
    path : Path
        The safetensors file.
    """
    content = safetensors.torch.save({key: value.contiguous() for key, value in weights.tensors.items()})
    path = folder / f"{weights.name}.safetensors"
    record = {"name": weights.name, "sha256": hashlib.sha256(content).hexdigest(), **card}
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    write_whole(path.with_suffix(".json"), json_text(record) + "\n")
    return path


def save_checkpoint(content: Mapping[str, object], path: Path) -> None:
    """Write what a training has come to, whole or not at all.

    Raises
    ------
    OSError
        If the disk is full; torch, writing by itself, would speak of positions in a container.
    """
    packed = io.BytesIO()
    torch.save(content, packed)
    with whole_file(path) as temporary:
        temporary.write_bytes(packed.getvalue())


def _expected_checksum(card: Path) -> str:
    try:
        return str(json.loads(card.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DenoisingError(
            f"{card}: expected a model card with the key 'sha256', found none that can be read ({error!r}); "
            "copy it again beside the weights"
        ) from error


def weights_checksums(folder: Path | None = None) -> dict[str, str]:
    """SHA-256 of every weights file that a strategy may load.

    All of them rather than those of one strategy: which these are is known to the strategies, and asking
    them means to load torch into the process that nipype forks from.

    Parameters
    ----------
    folder : Path or None
        Where the user's weights are; those of the package stand in for names that it does not hold.

    Returns
    -------
    checksums : dict of str to str
        By file name, in the order of the names.
    """
    files = {path.name: path for path in PACKAGED.glob("*.safetensors")}
    files |= {path.name: path for path in (folder.glob("*.safetensors") if folder else ())}
    # What is no file is left to the denoiser, which says what is wrong with it.
    there = {name: path for name, path in sorted(files.items()) if path.is_file()}
    return {name: _digest(path, path.stat().st_mtime_ns) for name, path in there.items()}


@cache
def _digest(path: Path, modified_ns: int) -> str:
    """Read once for all units of a run, as long as the file is not written again."""
    return content_digest(path)
