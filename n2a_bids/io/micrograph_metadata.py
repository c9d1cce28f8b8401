"""What TIFF files tell of a micrograph: size of a pixel, and bits that its values use."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import tifffile

_MM = {"nm": 1e-6, "µm": 1e-3, "μm": 1e-3, "um": 1e-3, "micron": 1e-3, "mm": 1.0, "cm": 10.0}


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


def pixel_size_mm(file: tifffile.TiffFile) -> tuple[float, float, float] | None:
    """Of columns, rows and planes, by OME or ImageJ metadata; resolution tags alone are those of printers."""
    attributes = _ome_pixels(file.ome_metadata)
    if "PhysicalSizeX" in attributes:
        sizes = [
            float(attributes.get(f"PhysicalSize{axis}", "nan"))
            * _MM.get(attributes.get(f"PhysicalSize{axis}Unit", "µm"), float("nan"))
            for axis in "XYZ"
        ]
        return _checked(sizes)
    info = file.imagej_metadata or {}
    unit = _MM.get(str(info.get("unit", "")))
    tags = file.pages[0].tags
    if unit is None or "XResolution" not in tags:
        return None
    steps = [tags[f"{axis}Resolution"].value for axis in "XY"]
    sizes = [low / high * unit if high else float("nan") for high, low in steps]
    return _checked([*sizes, float(info.get("spacing", "nan")) * unit])


def _checked(sizes: list[float]) -> tuple[float, float, float] | None:
    """The size, if it is one; planes whose spacing is not told are 1 mm apart."""
    x, y, z = (size if np.isfinite(size) and size > 0 else None for size in sizes)
    if x is None:
        return None
    return (x, y or x, z or 1.0)
