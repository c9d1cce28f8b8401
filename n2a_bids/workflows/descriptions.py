"""Methods sentences that workflows carry before they ran (``--boilerplate-only``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from n2a_bids.config import Config
from n2a_bids.dataset.units import DenoisingUnit, Kind
from n2a_bids.sentences import compared, mask_words, sentence, titles

_COMPARED: dict[Kind, str] = {
    "anat-repeats": "anat",
    "anat-echoes": "echoes",
    "anat-single": "single image",
    "micr-repeats": "micr",
    "micr-frames": "micr",
    "dwi-reverse-pe": "dwi",
    "dwi-repeats": "dwi",
    "dwi-single": "single series",
    "dwi-in-place": "single series",
    "dwi-split": "single series",
}
"""Words of the comparison (`n2a_bids.sentences.compared`) for each kind of unit."""


def opening(unit: DenoisingUnit) -> str:
    """Heading of a unit, and that its images are complex, where they are."""
    words = [f"**{titles()[unit.suffix]}.**"]
    if unit.uses_phase:
        words.append(sentence("complex", images="The images were complex:"))
    return joined_sentences(words)


def masking(method: str) -> str:
    """How the brain is outlined; nothing where that is not told."""
    words = mask_words(method)
    return joined_sentences([sentence("masked", method=words)] if words else [])


def series_preparation(unit: DenoisingUnit) -> str:
    """What is done to diffusion series before they are denoised."""
    words = [sentence("distortion")] if unit.distortion_is_estimated else []
    words.append(sentence("in_place" if unit.lies_in_place else "volumes_aligned"))
    return joined_sentences(words)


def choice(unit: DenoisingUnit, config: Config) -> str:
    """How the output is chosen; other strategies than ``auto`` choose nothing."""
    if config.denoise.strategy != "auto":
        return joined_sentences([f"The strategy was {config.denoise.strategy}."])
    bias_removed = "none" if config.denoise.keep_noise_floor else "some"
    return joined_sentences([compared(_COMPARED[unit.kind], bias_removed)])


def joined_sentences(sentences: Sequence[str]) -> str:
    """Sentences with a space after each: `LiterateWorkflow.visit_desc` sets none between workflows."""
    return "".join(f"{one} " for one in sentences)


def paragraphs(described: Iterable[tuple[str, str]]) -> dict[str, str]:
    """One paragraph for each kind of image, of the descriptions of its units.

    Parameters
    ----------
    described : iterable of (str, str)
        Suffix and description of each unit.

    Returns
    -------
    found : dict
        Suffix -> paragraph; where units of one kind differ, their sentences one after the other, each once.
    """
    found: dict[str, str] = {}
    for suffix, text in described:
        earlier = found.get(suffix, "")
        if text not in earlier:
            heading = f"**{titles()[suffix]}.** "
            found[suffix] = f"{earlier}{text.removeprefix(heading)}" if earlier else text
    return {suffix: text.strip() for suffix, text in found.items()}
