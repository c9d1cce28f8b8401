"""`ViewerRecord`: images of the viewer page, as they lie between run and report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ViewerImage:
    """One image of the viewer, ready for a browser."""

    name: str
    """What it is: ``one repetition``, ``mean``, ``denoised``, ..."""
    group: str
    """Which volume of a series, such as ``b=1000, mean of 32``; empty for images of one volume."""
    nifti: str
    """NIfTI file of 8 bit, compressed by gzip, as base64."""
    low: float
    """Intensity that is shown black."""
    high: float
    """Intensity that is shown white."""
    palette: str
    """Colour map, by its name in NiiVue."""


@dataclass(frozen=True, slots=True)
class ViewerRecord:
    """All images of one unit; those of one group lie on one grid."""

    images: tuple[ViewerImage, ...]
    coverage: str
    """``brain`` where everything else is blanked, ``head`` where it is not; ``micrograph``."""
    n_levels: int
    """Steps of intensity; fewer than 256 where the page would be too large."""
    coarsening: int = 1
    """How many voxels along each axis were averaged to one, to keep the page small."""

    @property
    def n_characters(self) -> int:
        """Part of the page that the images take, in bytes."""
        return sum(len(image.nifti) for image in self.images)
