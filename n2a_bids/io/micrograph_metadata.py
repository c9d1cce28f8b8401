"""Pixel size and significant bits of a TIFF micrograph, from OME, ImageJ and TIFF tags."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import tifffile

_MM = {"nm": 1e-6, "µm": 1e-3, "μm": 1e-3, "um": 1e-3, "micron": 1e-3, "mm": 1.0, "cm": 10.0}
_MM |= {"pm": 1e-9, "Å": 1e-7, "A": 1e-7, "\\u00B5m": 1e-3, "microns": 1e-3, "micrometer": 1e-3, "m": 1e3}
_LONG = {"pico": 1e-9, "nano": 1e-6, "micro": 1e-3, "milli": 1.0, "centi": 10.0}
_MM |= {f"{prefix}met{end}": mm for prefix, mm in _LONG.items() for end in ("er", "ers", "re", "res")}
_MM |= {"angstrom": 1e-7, "angstroms": 1e-7, "ångström": 1e-7}
_CALIBRATION = ("cf", "c0", "c1", "c2", "c3", "c4", "vunit")
"""Of ImageJ: kind of a function of the values, its coefficients, and the unit."""
_APERIO = re.compile(r"MPP = ([0-9.]+)")
_FINEST_PRINT_MM = 2e-3
"""Pixels below it are finer than any printer or scanner of films makes them."""

Size = tuple[float, float, float]


def _ome_pixels(ome: str | None) -> dict[str, str]:
    """Attributes of the first Pixels of OME metadata."""
    if not ome:
        return {}
    try:
        root = ElementTree.fromstring(ome)
    except ElementTree.ParseError:
        return {}
    found = next((one for one in root.iter() if one.tag.rpartition("}")[2] == "Pixels"), None)
    return dict(found.attrib) if found is not None else {}


def significant_bits(ome: str | None) -> int | None:
    """Bits that the values use, as OME metadata tell."""
    text = _ome_pixels(ome).get("SignificantBits", "")
    return int(text) if text.isdigit() and int(text) > 0 else None


def find_size(file: tifffile.TiffFile) -> tuple[Size | None, bool]:
    """Size of a pixel in mm, of columns, rows and planes.

    Returns
    -------
    size_mm : (x, y, z) or None
        By OME or ImageJ metadata, what electron microscopes and slide scanners add, or the resolution.
    by_tags : bool
        Whether by the resolution alone, which is believed where no printer or scanner has it.
    """
    found = _size_of_ome(file) or _size_of_imagej(file) or _size_of_vendor(file)
    if found is not None:
        return found, False
    found = _size_of_tags(file.pages[0])
    return found, found is not None


def resolution_tags(page: tifffile.TiffPage) -> tuple[float, float, int] | None:
    """Pixels per unit along X and Y, and the number of the unit (1 none, 2 inch, 3 cm)."""
    values = [page.tags.valueof(f"{axis}Resolution") for axis in "XY"]
    if any(not isinstance(value, tuple) or len(value) != 2 or 0 in value for value in values):
        return None
    return (*(high / low for high, low in values), int(page.tags.valueof("ResolutionUnit") or 1))


def imagej_calibration(file: tifffile.TiffFile) -> dict[str, str | float]:
    """What ImageJ makes of the values that are stored, as that 32768 is 0; empty where it tells nothing."""
    told = file.imagej_metadata or {}
    return {key: told[key] for key in _CALIBRATION if key in told} if "cf" in told else {}


def _size_of_ome(file: tifffile.TiffFile) -> Size | None:
    attributes = _ome_pixels(file.ome_metadata)
    if "PhysicalSizeX" not in attributes:
        return None
    return _checked(
        [
            _number(attributes.get(f"PhysicalSize{axis}"))
            * _MM.get(attributes.get(f"PhysicalSize{axis}Unit", "µm"), float("nan"))
            for axis in "XYZ"
        ]
    )


def _size_of_imagej(file: tifffile.TiffFile) -> Size | None:
    info, resolution = file.imagej_metadata or {}, resolution_tags(file.pages[0])
    unit = _MM.get(name := str(info.get("unit", "")), _MM.get(name.lower()))
    if unit is None or resolution is None:
        return None
    return _checked([unit / resolution[0], unit / resolution[1], _number(info.get("spacing")) * unit])


def _size_of_vendor(file: tifffile.TiffFile) -> Size | None:
    """Of FEI, Zeiss and Olympus microscopes, and of slides of Aperio."""
    fei, olympus, lsm = file.fei_metadata or {}, file.sis_metadata or {}, file.lsm_metadata or {}
    for section in (fei.get("Scan"), fei.get("EScan")):
        if isinstance(section, dict) and "PixelWidth" in section:
            return _checked([1e3 * _number(section.get(f"Pixel{one}")) for one in ("Width", "Height")])
    for metadata, names in ((olympus, ("pixelsizex", "pixelsizey")), (lsm, ("VoxelSizeX", "VoxelSizeY"))):
        if names[0] in metadata:
            return _checked([1e3 * _number(metadata.get(name)) for name in names])
    for name in ("ap_image_pixel_size", "ap_pixel_size"):
        told = (file.sem_metadata or {}).get(name, ())
        if len(told) == 3:
            return _checked([_number(told[1]) * _MM.get(told[2], float("nan"))] * 2)
    slide = _APERIO.search(file.pages[0].description) if file.is_svs else None
    return _checked([1e-3 * _number(slide[1])] * 2) if slide else None


def _size_of_tags(page: tifffile.TiffPage) -> Size | None:
    resolution = resolution_tags(page)
    unit = {2: 25.4, 3: 10.0}.get(resolution[2]) if resolution else None
    if unit is None:
        return None
    found = _checked([unit / resolution[0], unit / resolution[1]])
    return found if found and max(found[:2]) < _FINEST_PRINT_MM else None


def _number(value: object) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _checked(sizes: list[float]) -> Size | None:
    """The size, if it is one; planes whose spacing is not told are 1 mm apart."""
    x, y, z = (size if np.isfinite(size) and size > 0 else None for size in (*sizes, float("nan"))[:3])
    if x is None:
        return None
    return (x, y or x, z or 1.0)
