"""Refuses options of ``n2a-tools denoise`` that do nothing for the kind of image that is given."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from n2a_bids.config.options import declared_fields
from n2a_bids.denoising.inputs import DenoiseJob
from n2a_bids.denoising.micrographs.command import takes_micrographs
from n2a_bids.errors import ConfigError

_SERIES = "a diffusion series with --bvals and --bvecs"
_HEADS = "images of heads (NIfTI)"
_REPETITIONS = "anatomical images (NIfTI), without a gradient table"
_PICTURES = "PNG or TIFF files"

_EXPECTED: Mapping[str, str] = MappingProxyType(
    {
        "bvals": _HEADS,
        "bvecs": _HEADS,
        "b0_threshold": _SERIES,
        "companion": _SERIES,
        "noise_kept": _SERIES,
        "whole_image": _SERIES,
        "different_contrast": _REPETITIONS,
        "allow_shared_noise": _HEADS,
        "real_valued": _HEADS,
        "measured": _HEADS,
        "stored": _HEADS,
        "keep_noise_floor": _HEADS,
        "skull_strip": _HEADS,
        "as_they_lie": _PICTURES,
        "as_float": _PICTURES,
    }
)
"""Field of a job, or of one of its sections -> the images for which it does something."""
_NOUNS: Mapping[str, str] = MappingProxyType(
    {
        "pictures": "exposures of a microscope",
        "series": "a diffusion series",
        "heads": "images of heads without a gradient table",
    }
)
_MEANT_FOR: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {_SERIES: ("series",), _HEADS: ("series", "heads"), _REPETITIONS: ("heads",), _PICTURES: ("pictures",)}
)


def refuse_unused(job: DenoiseJob) -> None:
    """Refuse an option that would be ignored without a word.

    Raises
    ------
    ConfigError
        If one is given that means nothing for these images. Exposures that come as NIfTI are those of the
        app, which tells its users of such options itself.
    """
    if job.micrograph and not takes_micrographs(job):
        return
    kind = "pictures" if takes_micrographs(job) else "series" if job.bvals or job.bvecs else "heads"
    for section in (job, job.denoise, job.exposures):
        for one in declared_fields(type(section)):
            expected = _EXPECTED.get(one.name)
            is_given = getattr(section, one.name) != one.default
            if expected and is_given and kind not in _MEANT_FOR[expected]:
                instead = (
                    "give --no-align" if (one.name, kind) == ("as_they_lie", "heads") else "leave it out"
                )
                raise ConfigError(f"{one.flags[0]}: expected {expected}, found {_NOUNS[kind]}; {instead}")
