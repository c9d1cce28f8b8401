"""Loads the sentences of ``data/sentences.yml`` that both workflows and the methods text use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from n2a_bids.contrasts import CONTRASTS, MICR_SUFFIXES
from n2a_bids.packaged import packaged_yaml

LESS_BIAS: Mapping[str, str] = {
    "all": ", less the Rician bias,",
    "some": ", less the Rician bias where the air showed one,",
    "none": "",
}
"""Whether local means were freed of the Rician bias: in all, some or none of the images."""
MIDSPACE = ", to the position halfway between them (midspace)"
"""Space of the result, where it is not that of a repetition."""
MASK_WORDS: Mapping[str, str] = {
    "derivatives": "a mask given by the user",
    "user": "a mask given by the user",
    "deepbet": "deepbet [@deepbet]",
    "network": "a small convolutional network that takes images of any contrast",
    "otsu": "a threshold on the median-filtered b0 image, with DIPY [@dipy]",
    "template": "registration of a template with ANTs [@ants]",
    "ants": "registration of a template with ANTs [@ants]",
}
"""How the brain was outlined, by the first of these words in the record of the method: the name of a given
mask may hold others."""


_TITLES = {
    **{row.suffix: f"{row.words[:1].upper()}{row.words[1:]} images" for row in CONTRASTS},
    "dwi": "Diffusion-weighted images",
    **{suffix: f"Micrographs ({suffix})" for suffix in MICR_SUFFIXES},
}


def titles() -> Mapping[str, str]:
    """Heading of the paragraph on each kind of image, by suffix, in their order."""
    return _TITLES


def sentence(name: str, **facts: str) -> str:
    """A sentence, or some, of the methods text.

    Parameters
    ----------
    name : str
        Key in ``data/sentences.yml``.
    **facts : str
        What stands in the places of ``{names}``.

    Returns
    -------
    text : str
        One line; citations as ``[@key]``.

    Examples
    --------
    >>> sentence("masked", method="deepbet [@deepbet]")
    'The brain was outlined with deepbet [@deepbet].'
    """
    return _sentences()[name].format(**facts)


def compared(kind: str, bias_removed: str = "none") -> str:
    """How candidates were compared.

    Parameters
    ----------
    kind : str
        ``anat`` (repetitions), ``micr``, ``single image``, ``echoes``, ``dwi`` or ``single series``.
    bias_removed : str
        ``all``, ``some`` or ``none`` of the images were freed of the Rician bias.
    """
    if kind == "single image":
        return sentence("compared_single_image")
    if kind == "micr":
        return sentence("compared_micr")
    if kind in ("anat", "echoes"):
        return sentence(f"compared_{kind}", less_bias=LESS_BIAS[bias_removed])
    return sentence("compared_series", baseline="it is" if kind == "single series" else "averaged")


@cache
def _sentences() -> Mapping[str, str]:
    return {name: " ".join(words.split()) for name, words in packaged_yaml("sentences.yml").items()}


def mask_words(method: str) -> str:
    """How the brain was outlined, by the method as the record has it; empty where that is not known.

    Examples
    --------
    >>> mask_words("by deepbet"), mask_words("")
    ('deepbet [@deepbet]', '')
    >>> mask_words("given by the user (sub-01_desc-deepbet_mask.nii.gz)")
    'a mask given by the user'
    """
    return next((words for name, words in MASK_WORDS.items() if name in method.lower()), "")
