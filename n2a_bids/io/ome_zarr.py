"""Reads and writes OME-Zarr folders: finest level, pixel size, pyramid."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import temporary_name
from n2a_bids.io.micrograph_pixels import PAGES, Micrograph, check_axes, columns_first, find_depth, halve
from n2a_bids.record.typed_json import JsonObject

if TYPE_CHECKING:
    import zarr

_MM = {
    **{"angstrom": 1e-7, "picometer": 1e-9, "nanometer": 1e-6, "micrometer": 1e-3, "millimeter": 1.0},
    **{"centimeter": 10.0, "meter": 1e3, "nm": 1e-6, "um": 1e-3, "µm": 1e-3, "mm": 1.0},
}
_OLD_AXES = "tczyx"
"""Before version 0.3 of the format, which had no others."""
_CHUNK = 1024
_COARSEST = 512
"""Pixels of the longer edge, below which nothing coarser is written."""
_KINDS = {"T": ("t", "time"), "C": ("c", "channel"), **{axis: (axis.lower(), "space") for axis in "ZYX"}}
_LETTERS = {"time": "T", "channel": "C"}
"""Of kinds of axes, whatever their names."""
_DAMAGED = (KeyError, ValueError, TypeError, IndexError, AttributeError, OSError, RuntimeError, ImportError)


def is_zarr(path: Path) -> bool:
    """Whether a name is that of an OME-Zarr folder."""
    return path.name.lower().endswith(".zarr")


def _problem(path: Path) -> str:
    """What keeps a folder from being read, with the remedy, without its pixels; empty if nothing does."""
    if not path.is_dir():
        found = "a file" if path.exists() else "no such folder"
        return f"{path}: expected an OME-Zarr folder, found {found}; put the whole folder in its place"
    if not any((path / name).is_file() for name in (".zgroup", ".zattrs", "zarr.json")):
        return (
            f"{path}: expected an OME-Zarr folder, found none of .zattrs and zarr.json in it; copy it whole"
        )
    if importlib.util.find_spec("zarr") is None:
        return (
            f"{path}: expected a file that can be read here, found OME-Zarr, which takes the package zarr; "
            "run pip install 'n2a_bids[zarr]', or export the highest resolution as .ome.tif"
        )
    return ""


def count_zarr_pages(path: Path) -> int:
    """Planes or times of the finest image; 1 for what cannot be read, which is named where it is used."""
    return max([size for axis, size in _lengths(path).items() if axis in PAGES], default=1)


def count_zarr_values(path: Path) -> int:
    """Values of the finest image, whose pixels are not read; 0 for what cannot be read."""
    return math.prod(_lengths(path).values() or [0])


def _lengths(path: Path) -> dict[str, int]:
    """Axes of the finest image with their lengths; none of what cannot be read."""
    with suppress(*_DAMAGED, BIDSDataError):
        array, axes, _ = _finest(path)
        return dict(zip(axes, array.shape))
    return {}


def check_ome_zarr(path: Path) -> None:
    """Raise what `read_ome_zarr` raises of a folder whose metadata tell it; its pixels are not read."""
    with _telling_damage(path):
        _finest(path)


@contextmanager
def _telling_damage(path: Path) -> Iterator[None]:
    """Turn whatever zarr stumbles over into an error that names the folder and the remedy."""
    try:
        yield
    except _DAMAGED as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise BIDSDataError(
            f"{path}: expected an OME-Zarr image, found none that can be read whole ({told}); copy or export "
            "it again"
        ) from error


def read_ome_zarr(path: Path) -> Micrograph:
    """Read the finest image of an OME-Zarr folder, of any version of the format.

    Raises
    ------
    BIDSDataError
        If zarr is not installed, or the folder is damaged or holds another thing than one image. Chunks that
        are not stored have the fill value, as the format has it, and are told in `Micrograph.not_stored`.
    """
    with _telling_damage(path):
        array, axes, size = _finest(path)
        files = _stored_files(path, array)
        missing = [place for place, file in files.items() if not file.is_file()]
        may_lack = array.metadata.fill_value is not None and len(missing) < len(files)
        values = np.asarray(array[...]) if may_lack or not missing else np.empty(0)
    if missing and not may_lack:
        found = "no value to fill them with" if len(missing) < len(files) else "no other"
        raise BIDSDataError(
            f"{path}: expected {len(files)} chunks of the finest image, found that {len(missing)} are "
            f"missing and {found}; copy the folder whole"
        )
    pixels, order = columns_first(path, values.astype(values.dtype.newbyteorder("="), copy=False), axes)
    depth, saturated_at = find_depth(pixels, 8 * pixels.dtype.itemsize)
    version = int(array.metadata.zarr_format)
    not_stored = columns_first(path, _numbered(missing, array), axes)[0] if missing else None
    return Micrograph(
        *(pixels, depth, size, path, _in_order(order)),
        saturated_at=saturated_at,
        zarr_format=version,
        not_stored=not_stored,
    )


def _numbered(missing: Sequence[tuple[int, ...]], array: zarr.Array) -> NDArray[np.int32]:
    """Number of the chunk in each pixel of those that are missing, from 1."""
    numbers = np.zeros(array.shape, np.int32)
    edges = array.shards or array.chunks
    for number, place in enumerate(missing, start=1):
        numbers[tuple(slice(at * edge, (at + 1) * edge) for at, edge in zip(place, edges))] = number
    return numbers


def _stored_files(path: Path, array: zarr.Array) -> dict[tuple[int, ...], Path]:
    """Files that hold an array, by place: one for each chunk, or for each shard of chunks.

    Versions of zarr differ in what they count as chunks of an array with shards.
    """
    edges = array.shards or array.chunks
    places = itertools.product(*(range(-(-size // edge)) for size, edge in zip(array.shape, edges)))
    return {place: path / array.path / array.metadata.encode_chunk_key(place) for place in places}


def _finest(path: Path) -> tuple[zarr.Array, str, tuple[float, float, float] | None]:
    """Array of the finest level, its axes in the letters of TIFF, and the size of a pixel in mm."""
    problem = _problem(path)
    if problem:
        raise BIDSDataError(problem)
    group = importlib.import_module("zarr").open_group(os.fspath(path), mode="r")
    attributes = _attributes(group)
    if "multiscales" not in attributes and "bioformats2raw.layout" in attributes:
        names = sorted(name for name, _ in group.groups() if name != "OME")
        if len(names) != 1:
            raise BIDSDataError(f"{path}: expected one image, found {len(names)}; export the one that counts")
        group = group[names[0]]
        attributes = _attributes(group)
    if "multiscales" not in attributes:
        kind = "a plate of many fields of view" if "plate" in attributes else "no multiscales metadata"
        raise BIDSDataError(f"{path}: expected one image of OME-Zarr, found {kind}; export one field of view")
    multiscales = attributes["multiscales"][0]
    levels = [(group[one["path"]], one) for one in multiscales["datasets"]]
    array, level = max(levels, key=lambda one: int(np.prod(one[0].shape)))
    axes = multiscales.get("axes") or list(_OLD_AXES)
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in axes]
    letters = "".join(_LETTERS.get(axis.get("type"), str(axis["name"]).upper()) for axis in axes)
    check_axes(path, array.shape, letters)
    return array, letters, _size_mm(axes, letters, (level, multiscales))


def _attributes(group: zarr.Group) -> JsonObject:
    """Those of OME: from version 0.5 on under a name of their own."""
    attributes = dict(group.attrs)
    return {**attributes, **dict(attributes.get("ome", {}))}


def _size_mm(
    axes: Sequence[JsonObject], letters: str, scaled: Sequence[JsonObject]
) -> tuple[float, float, float] | None:
    factors = np.ones(len(axes))
    is_told = False
    for one in scaled:
        for transform in one.get("coordinateTransformations") or ():
            if transform.get("type") == "scale":
                factors *= np.asarray(transform["scale"], float)
                is_told = True
    sizes = {
        letter: factor * _MM.get(str(axis.get("unit", "")).lower(), np.nan)
        for letter, axis, factor in zip(letters, axes, factors)
    }
    x, y, z = (sizes.get(letter, np.nan) for letter in "XYZ")
    if not is_told or not (np.isfinite(x) and np.isfinite(y) and x > 0 and y > 0):
        return None
    return (float(x), float(y), float(z) if np.isfinite(z) and z > 0 else 1.0)


def write_ome_zarr(path: Path, stored: NDArray[np.generic], like: Micrograph) -> Path:
    """Write an image as an OME-Zarr folder: version 0.5 where it was made of such, else 0.4.

    Parameters
    ----------
    path : Path
        Replaced as a whole.
    stored : (X, Y, Z, C) array
    like : Micrograph
        What the image was made of.

    Raises
    ------
    BIDSDataError
        If zarr is not installed.
    """
    if importlib.util.find_spec("zarr") is None:
        raise BIDSDataError(
            f"{path}: OME-Zarr is written with the package zarr, which is not there; run pip install "
            "'n2a_bids[zarr]', or name it .ome.tif"
        )
    version = like.zarr_format or 2
    axes = _in_order(like.axes)
    levels = _pyramid(stored, axes)
    zarr = importlib.import_module("zarr")
    with _whole_folder(path) as folder:
        group = zarr.open_group(os.fspath(folder), mode="w", zarr_format=version)
        for number, level in enumerate(levels):
            chunks = (*(1,) * (level.ndim - 2), *(min(edge, _CHUNK) for edge in level.shape[-2:]))
            array = group.create_array(
                str(number),
                shape=level.shape,
                chunks=chunks,
                dtype=level.dtype,
                config={"write_empty_chunks": True},
                **({"chunk_key_encoding": {"name": "v2", "separator": "/"}} if version == 2 else {}),
            )
            array[...] = level
        fields = {"multiscales": [_multiscales(axes, len(levels), like)]}
        group.attrs.update({"ome": {"version": "0.5", **fields}} if version == 3 else fields)
    return path


def _in_order(axes: str) -> str:
    """The same axes as the format orders them; pages that are no times count as planes."""
    order = {"T": "T", "C": "SC", "Z": PAGES.replace("T", ""), "Y": "Y", "X": "X"}
    return "".join(axis for axis, letters in order.items() if set(axes) & set(letters))


def _multiscales(axes: str, n_levels: int, like: Micrograph) -> JsonObject:
    """Metadata of all levels: in micrometres where the size of a pixel is known."""
    sizes = dict(zip("XYZ", (1e3 * size for size in like.pixel_size_mm))) if like.pixel_size_mm else {}
    unit = {"unit": "micrometer"} if sizes else {}
    datasets: list[JsonObject] = []
    for number in range(n_levels):
        steps = [2**number if axis in "XY" else 1 for axis in axes]
        scale = [float(f"{sizes.get(axis, 1.0) * step:.9g}") for axis, step in zip(axes, steps)]
        transforms: list[JsonObject] = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(number), "coordinateTransformations": transforms})
    named = [{"name": _KINDS[axis][0], "type": _KINDS[axis][1]} for axis in axes]
    return {
        **({} if like.zarr_format == 3 else {"version": "0.4"}),
        "axes": [one | (unit if one["type"] == "space" else {}) for one in named],
        "datasets": datasets,
    }


def _pyramid(stored: NDArray[np.generic], axes: str) -> list[NDArray[np.generic]]:
    """The image in the order of its axes, and ever coarser ones."""
    x, y, pages, channels = range(4)
    moved = stored.transpose((pages, channels, y, x) if "T" in axes else (channels, pages, y, x))
    named = zip("TCYX" if "T" in axes else "CZYX", moved.shape)
    levels = [moved.reshape([size for axis, size in named if axis in axes])]
    while max(levels[-1].shape[-2:]) > _COARSEST:
        levels.append(halve(levels[-1]))
    return levels


@contextmanager
def _whole_folder(path: Path) -> Iterator[Path]:
    """Temporary folder that takes the place of `path` when the block ends well, and goes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, former = (temporary_name(path) for _ in range(2))
    try:
        yield temporary
        if path.exists():
            os.replace(path, former)
        os.replace(temporary, path)
    finally:
        if former.exists() and not path.exists():
            os.replace(former, path)
        for folder in (temporary, former):
            shutil.rmtree(folder, ignore_errors=True)
