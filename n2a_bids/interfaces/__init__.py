"""Nipype interfaces (nodes): they open files, call an algorithm and write files."""

from __future__ import annotations

from n2a_bids.lazy_names import importer

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
__getattr__ = importer(__name__, _PUBLIC)
