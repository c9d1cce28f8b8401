"""Nipype workflows: small builders, each given only its part of the configuration."""

from __future__ import annotations

import importlib

_PUBLIC = {
    "init_align_wf": "anat.align",
    "init_denoise_node": "denoise",
    "init_mask_wf": "anat.mask",
    "init_participant_wf": "participant",
}
"""Builders for the workflows of others, and where each is; imported when asked for."""
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
