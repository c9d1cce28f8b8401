"""Packed pixels of TIFF files: LZW, Zstandard and JPEG unpacked by Pillow where imagecodecs is absent."""

from __future__ import annotations

import importlib.util
import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import _imagecodecs as fallback

_LZW, _ZSTD = 5, 50000
_GREY, _RGB = 1, 2
"""Colours, as TIFF numbers them."""


def supply_decoders() -> None:
    """Give tifffile the decoders that it lacks without imagecodecs, which it then looks for among its own.

    The library that Pillow brings with it knows them. Everything else (tiles, predictors, types) stays with
    tifffile. Nothing is changed where imagecodecs is installed.
    """
    if importlib.util.find_spec("imagecodecs") is not None:
        return
    fallback.lzw_decode = _decode_lzw
    fallback.jpeg_decode = _decode_jpeg
    if importlib.util.find_spec("compression") is None:
        fallback.zstd_decode = _decode_zstd


def _decode_lzw(data: bytes, /, *, out: int) -> bytes:
    return _unpack(data, _LZW, out)


def _decode_zstd(data: bytes, /, *, out: int) -> bytes:
    return _unpack(data, _ZSTD, out)


def _unpack(data: bytes, compression: int, n_bytes: int) -> bytes:
    """Unpack a strip or tile as the only row of a grey image of 8 bits, of whatever type its values are."""
    tags = [
        *((256, 4, n_bytes), (257, 4, 1), (258, 3, 8), (259, 3, compression), (262, 3, _GREY)),
        *((273, 4, 0), (277, 3, 1), (278, 4, 1), (279, 4, len(data))),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, kind, 1, start if tag == 273 else value) for tag, kind, value in tags
    )
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    with Image.open(io.BytesIO(header + bytes(data))) as image:
        return image.tobytes()


def _decode_jpeg(
    data: bytes,
    /,
    *,
    tables: bytes | None = None,
    colorspace: int | None = None,
    outcolorspace: int | str | None = None,
    bitspersample: int = 8,
    **_rest: Any,
) -> NDArray[np.uint8]:
    """Pixels of a strip or tile of 8 bits; tables that all share stand before it."""
    if bitspersample != 8:
        raise ValueError(f"JPEG of {bitspersample} bits requires the 'imagecodecs' package")
    stream = bytes(data)
    if tables:
        stream = stream[:2] + tables[2:-2] + stream[2:]
    if colorspace == _RGB:
        # What Adobe writes to say that three colours are red, green and blue.
        stream = stream[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + stream[2:]
    with Image.open(io.BytesIO(stream)) as image:
        return np.asarray(image.convert("RGB") if outcolorspace == _RGB else image)
