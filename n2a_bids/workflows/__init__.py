"""Nipype workflows: small builders, each given only its part of the configuration."""

from __future__ import annotations

from n2a_bids.lazy_names import importer

_PUBLIC = {
    "DenoiseFacts": "denoise",
    "init_align_wf": "anat.align",
    "init_denoise_node": "denoise",
    "init_mask_wf": "anat.mask",
    "init_participant_wf": "participant",
}
"""Builders for the workflows of others, what one takes, and where each is; imported when asked for."""
__all__ = list(_PUBLIC)
__getattr__ = importer(__name__, _PUBLIC)
