"""Finds the micrograph files of a dataset, and what keeps one from being used."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from n2a_bids.contrasts import MICR_SUFFIXES
from n2a_bids.dataset.read.acquisition import positive_number
from n2a_bids.dataset.read.files import file_problem, problem_found_by
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.micrograph_pixels import OTHER_FORMATS
from n2a_bids.io.micrographs import check_header
from n2a_bids.io.ome_zarr import count_zarr_pages, is_zarr
from n2a_bids.record.typed_json import JsonObject

EXTENSIONS = (".png", ".tif", ".ome.tif", ".ome.btf", ".ome.zarr")
"""Of BIDS."""
_NAMED = re.compile(
    rf"sub-.*_(?:{'|'.join(MICR_SUFFIXES)})\.(?:png|tiff?|ome\.tiff?|ome\.btf|btf|ome\.zarr)", re.IGNORECASE
)
_NAMED_OTHERWISE = re.compile(
    rf"sub-.*_(?:{'|'.join(MICR_SUFFIXES)})(?:{'|'.join(map(re.escape, OTHER_FORMATS))})", re.IGNORECASE
)
_MM = {"nm": 1e-6, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "mm": 1.0}
_LARGEST_DIFFERENCE = 0.01
"""Relative: between the pixel size of a sidecar and that of the file itself."""


def has_micrograph_name(path: Path) -> bool:
    """Whether a file is named as a micrograph of BIDS is.

    Examples
    --------
    >>> [has_micrograph_name(Path(name)) for name in ("sub-1_sample-a_run-1_TEM.tif", "sub-1_T1w.nii.gz")]
    [True, False]
    """
    return _NAMED.fullmatch(path.name) is not None


def list_micrographs(folders: Iterable[Path]) -> list[Path]:
    """What is named as a micrograph in some folders, sorted."""
    found = []
    for folder in folders:
        # A folder that cannot be listed is named where no image of its participant is found.
        with suppress(OSError), os.scandir(folder) as entries:
            found += [folder / entry.name for entry in entries if _NAMED.fullmatch(entry.name)]
    return sorted(found)


def micrographs_of_other_formats(folder: Path, modalities: Sequence[str]) -> dict[Path, str]:
    """Images in a folder of micrographs that are named as exposures, in a format that is not read.

    Parameters
    ----------
    folder : Path
        Of images, such as ``micr``; of others nothing is said.
    modalities : sequence of str
        Not needed: the folder tells.

    Returns
    -------
    reasons : dict of Path to str
        What to do with each; nothing that is there as PNG or TIFF, too.
    """
    if folder.name != "micr":
        return {}
    read = {path.name.partition(".")[0] for path in list_micrographs([folder])}
    # A folder that cannot be listed is named where no image of its participant is found.
    with suppress(OSError), os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
        others = [name for name in names if _NAMED_OTHERWISE.fullmatch(name)]
        return {
            folder
            / name: f"{name} is of a format that BIDS does not have: save it as TIFF or PNG without loss"
            for name in others
            if name.partition(".")[0] not in read
        }
    return {}


def micrograph_problem(path: Path) -> str:
    """What keeps the file of a micrograph from being read, with the remedy; its pixels are not looked at."""
    found = "" if is_zarr(path) else file_problem(path)
    return found or problem_found_by(check_header, path)


def count_pages(path: Path) -> int:
    """Pages of a TIFF file or OME-Zarr folder, without its pixels; 1 for others or what cannot be read.

    What cannot be read is named where it is used.
    """
    if is_zarr(path):
        return count_zarr_pages(path)
    if not path.name.lower().endswith((".tif", ".tiff", ".btf")):
        return 1
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            sizes = zip(series.axes, series.shape, strict=True)
            return max([length for axis, length in sizes if axis in "ZTIQ"], default=1)
    except Exception:  # damaged files raise whatever the parser stumbles over
        return 1


def pixel_size_mm(
    path: Path,
    metadata: JsonObject,
    own_mm: tuple[float, float, float] | None,
    *,
    own_is_certain: bool = True,
) -> tuple[float, float, float] | None:
    """Size of a pixel by the sidecar, or by the file where the sidecar does not tell.

    Parameters
    ----------
    path : Path
        Named in errors.
    metadata : dict
        ``PixelSize`` and ``PixelSizeUnits``.
    own_mm : (x, y, z), optional
        As the file itself has it.
    own_is_certain : bool
        False where the sidecar is believed more: of a resolution that programs may have set for printers.

    Returns
    -------
    size_mm : (x, y, z) or None
        Planes whose distance is not told are 1 mm apart; None where nothing tells a size.

    Raises
    ------
    BIDSDataError
        If the sidecar makes no sense, or contradicts the file.
    """
    size, unit = metadata.get("PixelSize"), metadata.get("PixelSizeUnits")
    if size is None:
        return own_mm
    is_size = isinstance(size, list) and len(size) in (2, 3) and all(positive_number(one) for one in size)
    if not is_size or unit not in _MM:
        raise BIDSDataError(
            f"{path}: expected in its sidecar PixelSize, two or three positive numbers, and PixelSizeUnits "
            f"(nm, um or mm), found {size!r} and {unit!r}; correct the sidecar"
        )
    x, y, *rest = (float(one) * _MM[str(unit)] for one in size)
    if own_mm is not None and own_is_certain:
        pairs = ((x, own_mm[0]), (y, own_mm[1]))
        if any(abs(said / own - 1) > _LARGEST_DIFFERENCE for said, own in pairs):
            raise BIDSDataError(
                f"{path}: expected one pixel size, found {x * 1e6:g} x {y * 1e6:g} nm in the sidecar and "
                f"{own_mm[0] * 1e6:g} x {own_mm[1] * 1e6:g} nm in the file itself; correct what is wrong"
            )
    return (x, y, rest[0] if rest else 1.0)
