"""Table of anatomical contrasts by BIDS suffix (T1w, T2w, UNIT1, ...); the largest b-value that counts as b0.

Standard library only, like `n2a_bids.strategy_table`: command line, finders, workflows and reports take the
kinds from here. A new contrast is one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

B0_THRESHOLD = 50.0
"""Largest b-value (s/mm2) that counts as no diffusion weighting where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One kind of anatomical image."""

    suffix: str
    """Of BIDS; groups never mix suffixes."""
    words: str
    """As in "T2-weighted images"."""
    by_echo_time: bool = False
    """Whether its contrast follows the echo time, so that another one makes another image."""
    has_noisy_background: bool = False
    """Whether it is a ratio of images, which in the air is noise of the whole range of intensities."""
    related: tuple[str, ...] = ()
    """Suffixes that are looked for with it, to be named as left out."""


CONTRASTS: tuple[Contrast, ...] = (
    Contrast("T1w", "T1-weighted", related=("VFA", "IRT1", "MPM", "MTS", "MTR", "FLASH")),
    Contrast("T2w", "T2-weighted", by_echo_time=True, related=("MESE",)),
    Contrast("FLAIR", "FLAIR", by_echo_time=True),
    Contrast("PDw", "proton-density-weighted", by_echo_time=True, related=("PD", "PDT2")),
    Contrast("T2starw", "T2*-weighted", by_echo_time=True, related=("T2star", "MEGRE")),
    Contrast("inplaneT1", "T1-weighted in-plane"),
    Contrast("inplaneT2", "T2-weighted in-plane", by_echo_time=True),
    Contrast("UNIT1", "uniform T1-weighted (MP2RAGE)", has_noisy_background=True, related=("MP2RAGE",)),
)

ANAT_SUFFIXES: tuple[str, ...] = tuple(row.suffix for row in CONTRASTS)
"""Suffixes of anatomical images that can be denoised, T1w first."""
MICR_SUFFIXES: tuple[str, ...] = (
    *("TEM", "SEM", "BF", "DF", "PC", "DIC", "FLUO", "CONF", "PLI", "2PE", "MPE", "CARS", "SR", "NLO", "OCT"),
    *("SPIM", "XPCT", "uCT"),
)
"""Suffixes of micrographs, one for each kind of microscope."""
MODALITIES: tuple[str, ...] = (*ANAT_SUFFIXES, "dwi", "micr")
"""What ``--modalities`` takes, but for ``anat``."""
DENOISED_SUFFIXES: tuple[str, ...] = (*ANAT_SUFFIXES, "dwi", *MICR_SUFFIXES)
"""Suffixes of all images that can be denoised."""
ALL_ANATOMY = "anat"
"""Stands for all of `ANAT_SUFFIXES`."""

LOOKED_FOR: dict[str, tuple[str, ...]] = {
    "dwi": ("dwi", "sbref"),
    "micr": MICR_SUFFIXES,
    **{row.suffix: (row.suffix, *row.related) for row in CONTRASTS},
}
"""Modality -> suffixes of the images that are looked for with it."""
IMAGE_SUFFIXES: tuple[str, ...] = tuple(suffix for suffixes in LOOKED_FOR.values() for suffix in suffixes)

NEVER_DENOISED: dict[str, str] = {
    "MP2RAGE": "holds the inversion images of one acquisition, which are never repetitions; "
    "repeated UNIT1 images are",
    "MESE": "is a series of echoes for a T2 map, not denoised here",
    "MEGRE": "is a series of echoes for a T2* map, not denoised here",
    "VFA": "is a series of flip angles for a T1 map, not denoised here",
    "IRT1": "is a series of inversion times for a T1 map, not denoised here",
    "MPM": "is a set of echoes and flip angles for quantitative maps, not denoised here",
    "MTS": "is a set with and without magnetisation transfer for quantitative maps, not denoised here",
    "MTR": "is a set with and without magnetisation transfer for a map of its ratio, not denoised here",
    "FLASH": "is no name of BIDS any more; name it after its contrast: T1w, PDw or T2starw",
    "PD": "is no name of BIDS any more; if it is a proton-density-weighted image, name it PDw",
    "T2star": "is no name of BIDS any more; if it is a T2*-weighted image and no map, name it T2starw",
    "PDT2": "holds two contrasts in one file; split it into PDw and T2w",
}
"""Suffix -> why its images are left out, the end of a sentence that begins with the suffix."""


def find_contrast(suffix: str) -> Contrast:
    """Row of a suffix.

    Raises
    ------
    KeyError
        If it is no anatomical image that can be denoised.

    Examples
    --------
    >>> find_contrast("T2w").words
    'T2-weighted'
    """
    return {row.suffix: row for row in CONTRASTS}[suffix]


def selected_modalities(asked: tuple[str, ...]) -> tuple[str, ...]:
    """Modalities that were asked for, each once, in the order of `MODALITIES`.

    Examples
    --------
    >>> selected_modalities(("dwi", "T2w")), selected_modalities(("anat",)) == ANAT_SUFFIXES
    (('T2w', 'dwi'), True)
    """
    return tuple(
        name for name in MODALITIES if name in asked or (ALL_ANATOMY in asked and name in ANAT_SUFFIXES)
    )


def modality_of(suffix: str) -> str:
    """Modality that a suffix is looked for with.

    Examples
    --------
    >>> modality_of("MP2RAGE"), modality_of("sbref"), modality_of("T2w")
    ('UNIT1', 'dwi', 'T2w')
    """
    return next(modality for modality, suffixes in LOOKED_FOR.items() if suffix in suffixes)


def datatype_of(suffix: str) -> Literal["anat", "dwi", "micr"]:
    """BIDS folder of the images of a suffix.

    Examples
    --------
    >>> datatype_of("T2w"), datatype_of("dwi"), datatype_of("TEM")
    ('anat', 'dwi', 'micr')
    """
    if suffix in MICR_SUFFIXES:
        return "micr"
    return "dwi" if suffix == "dwi" else "anat"
