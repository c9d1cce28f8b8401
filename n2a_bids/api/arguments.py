"""Checks the arguments of the Python functions before the work, and names them in errors."""

from __future__ import annotations

import operator
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import SupportsIndex

import nibabel as nb
import numpy as np

from n2a_bids.api.images import ImageLike
from n2a_bids.errors import BIDSDataError, ConfigError, DenoisingError


def image_list(images: Iterable[ImageLike]) -> list[ImageLike]:
    """The images as a list.

    Raises
    ------
    BIDSDataError
        If they are one image, whose slices or letters would be taken for images.
    """
    found = ""
    if isinstance(images, str | os.PathLike):
        found = f"one path, {os.fspath(images)}"
    elif isinstance(images, nb.spatialimages.SpatialImage):
        found = "one image of nibabel"
    elif isinstance(images, np.ndarray):
        found = f"one array of shape {images.shape}"
    elif isinstance(images, tuple) and len(images) == 2 and np.shape(images[1]) == (4, 4):
        found = "one image, (array, affine)"
    elif not isinstance(images, Iterable):
        found = type(images).__name__
    if found:
        raise BIDSDataError(
            f"images: expected a list of images (paths, images of nibabel, or pairs (array, affine)), found "
            f"{found}; write [image] for one, [first, second] for repetitions"
        )
    return list(images)


def whole_number(value: SupportsIndex, name: str, least: int = 0) -> int:
    """A whole number, of Python or of numpy.

    Raises
    ------
    ConfigError
        If it is none, or smaller than `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ConfigError(f"{name}: expected a whole number of at least {least}, found {value!r}; correct it")
    return number


@contextmanager
def input_folder(purpose: str) -> Iterator[Path]:
    """A folder for what is in memory, gone at the end, which no message names: "image 2" is what users gave.

    Parameters
    ----------
    purpose : str
        Part of its name.
    """
    with tempfile.TemporaryDirectory(prefix=f"n2a_{purpose}_") as name:
        try:
            yield Path(name)
        except (BIDSDataError, ConfigError, DenoisingError) as error:
            told = as_given((str(error),), Path(name))[0]
            raise type(error)(told) from error


def as_given(texts: Sequence[str], folder: Path) -> list[str]:
    """Texts that call files of `write_inputs` what they were in the call."""
    inside = rf"{re.escape(str(folder))}/(?:\S*/)?"
    pattern = re.compile(rf"{inside}(?:(image|mask)-(\d+)\.nii\.gz|table\.(bval|bvec))")
    return [pattern.sub(_call, text) for text in texts]


def _call(found: re.Match[str]) -> str:
    kind, number, table = found.groups()
    if table:
        return f"gradients.{table}s"
    return "mask" if kind == "mask" else f"image {number}"
