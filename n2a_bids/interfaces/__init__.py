"""Thin nipype interfaces: files in, files out; `Denoise` and those of alignment are public."""

from __future__ import annotations

import importlib

_PUBLIC = {
    "AlignRepetitions": "anat.align",
    "BrainMask": "anat.mask",
    "ChooseReference": "anat.register",
    "Denoise": "denoise",
    "FindGaps": "gaps",
    "RegisterRigid": "anat.register",
}
"""Where each is; imported when asked for."""
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
