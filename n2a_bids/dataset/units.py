"""`DenoisingUnit`: a group of images that one denoising takes; `Excluded`: an image with the reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from n2a_bids.contrasts import ANAT_SUFFIXES
from n2a_bids.dataset.names import parse_name
from n2a_bids.record.typed_json import JsonObject

Kind = Literal[
    "anat-repeats", "anat-echoes", "anat-single",
    "dwi-reverse-pe", "dwi-repeats", "dwi-split", "dwi-single", "dwi-in-place",
    "micr-repeats", "micr-frames",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ComplexParts:
    """The two files of a complex image."""

    form: Literal["polar", "cartesian"]
    """``polar``: magnitude and phase; ``cartesian``: real and imaginary part."""
    second: Path
    """Phase or imaginary part; magnitude or real part is the image itself."""
    phase_units: str = ""
    """``Units`` of the phase: ``rad``, ``arbitrary``, or empty where its sidecar does not tell."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One file of an image with its BIDS entities and sidecar metadata (inheritance applied)."""

    path: Path
    entities: dict[str, str] = field(default_factory=dict)
    metadata: JsonObject = field(default_factory=dict)
    bval: Path | None = None
    """b-values of a DWI series (inheritance applied)."""
    bvec: Path | None = None
    """Gradient directions of a DWI series (inheritance applied)."""
    parts: ComplexParts | None = None
    """What makes it complex; None for an image of one file."""
    notes: tuple[str, ...] = ()
    """What the user should know about this file, with whatever it is grouped: one sentence each."""

    @property
    def suffix(self) -> str:
        """BIDS suffix, as in `n2a_bids.contrasts`."""
        return parse_name(self.path)[1]

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that an image consists of: one, or two of a complex image."""
        return (self.path,) if self.parts is None else (self.path, self.parts.second)

    @property
    def is_cartesian(self) -> bool:
        """Whether a complex image comes as real and imaginary parts, and so has no magnitude of its own."""
        return self.parts is not None and self.parts.form == "cartesian"


@dataclass(frozen=True, slots=True)
class PhaseEncoding:
    """How the phase of one series was encoded, in the world."""

    direction: tuple[float, float, float]
    """Unit vector, RAS+: the BIDS ``PhaseEncodingDirection`` of the image, through its affine."""
    polarity_is_known: bool = True
    """False where sidecars tell the axis only: the sign is a guess, but series of one unit that have opposite
    signs are opposite."""
    readout_time_s: float | None = None
    """``TotalReadoutTime``, finite and positive; None where it is not known."""


@dataclass(frozen=True, slots=True)
class DenoisingUnit:
    """Images that are denoised together."""

    kind: Kind
    images: tuple[ImageFile, ...]
    """In order of run, echo or direction."""
    entities: dict[str, str]
    """Entities that all images share, in BIDS short form (``sub``, ``ses``, ``acq``, ...)."""
    reason: str = ""
    """Why these images belong together, in one sentence."""
    volumes: tuple[tuple[int, ...], ...] = ()
    """For each DWI series the volumes (from 0) that correspond; empty means all, in order."""
    phase_encoding: tuple[PhaseEncoding, ...] = ()
    """Of each DWI series; empty where the sidecars do not tell of all."""
    reversed_b0: ImageFile | None = None
    """b0s of opposite phase encoding that show the distortion but are not denoised."""
    companion: ImageFile | None = None
    """Series of the same grid and table that a diffusion series denoised in place may learn from."""
    companion_notes: tuple[str, ...] = ()
    """Why repeats of a diffusion series denoised in place are not learned from: one sentence each."""
    notes: tuple[str, ...] = ()
    """What the user should know about these inputs: one sentence each."""

    ignores_phase: bool = False
    """The user wants magnitudes, even where the images are complex."""

    def with_image_notes(self, notes: Mapping[Path, Sequence[str]]) -> DenoisingUnit:
        """The unit with further notes on some of its images, which stay with these in other groups."""
        images = tuple(
            replace(image, notes=(*image.notes, *notes.get(image.path, ()))) for image in self.images
        )
        told = [note for image in self.images for note in notes.get(image.path, ())]
        return replace(self, images=images, notes=(*self.notes, *told))

    @property
    def uses_phase(self) -> bool:
        """Whether real-valued images are denoised, which needs complex data of every one."""
        return not self.ignores_phase and all(image.parts is not None for image in self.images)

    @property
    def has_echoes(self) -> bool:
        """Whether its images differ in contrast, so that they have no plain mean."""
        return self.kind == "anat-echoes"

    @property
    def has_opposite_series(self) -> bool:
        """Whether it holds DWI series of opposite phase encoding, which are denoised together."""
        return self.kind == "dwi-reverse-pe"

    @property
    def lies_in_place(self) -> bool:
        """Whether its DWI series is denoised where it was acquired, and nothing is moved."""
        return self.kind == "dwi-in-place"

    @property
    def is_movie(self) -> bool:
        """Whether its exposures are frames of one file."""
        return self.kind == "micr-frames"

    @property
    def has_regional_noise(self) -> bool:
        """Whether the noise of a brain is known place by place: that of echoes is one level for the image."""
        return self.datatype != "micr" and not self.has_echoes

    def names_of(self, image: ImageFile) -> dict[str, str]:
        """Entities of files that are made of one image: what is made of two parts is none of them."""
        entities = dict(image.entities)
        if self.uses_phase:
            entities.pop("part", None)
        return entities

    @property
    def distortion_is_estimated(self) -> bool:
        """Whether there is an image of opposite phase encoding, denoised itself or not."""
        return self.has_opposite_series or self.reversed_b0 is not None

    @property
    def is_opposite_pair(self) -> bool:
        """Whether it is two DWI series of opposite phase encoding, and no third."""
        return self.has_opposite_series and len(self.images) == 2

    @property
    def polarity_leaders(self) -> list[int]:
        """For each DWI series the first that has its polarity of phase encoding, by index."""
        vectors = self.phase_encoding_vectors
        alike = [sum(a * b for a, b in zip(vectors[0], one, strict=True)) > 0 for one in vectors]
        return [alike.index(polarity) for polarity in alike]

    @property
    def phase_encoding_vectors(self) -> list[list[float]]:
        """Direction of phase encoding of each DWI series, in the world."""
        return [[float(part) for part in one.direction] for one in self.phase_encoding]

    @property
    def suffix(self) -> str:
        """BIDS suffix of the images, as in `n2a_bids.contrasts`."""
        if self.datatype == "dwi":
            return "dwi"
        return self.images[0].suffix if self.images else ANAT_SUFFIXES[0]

    @property
    def datatype(self) -> Literal["anat", "dwi", "micr"]:
        """BIDS folder of the images."""
        if self.kind.startswith("anat"):
            return "anat"
        return "micr" if self.kind.startswith("micr") else "dwi"

    @property
    def label(self) -> str:
        """Readable and unique: the shared entities and the suffix, e.g. ``sub-01_acq-hires_T1w``."""
        return "_".join([*(f"{key}-{value}" for key, value in self.entities.items()), self.suffix])

    @property
    def workflow_name(self) -> str:
        """Label and kind in letters, digits and underscores, as nipype wants the name of a workflow.

        Examples
        --------
        >>> DenoisingUnit("anat-repeats", (), {"sub": "01", "acq": "hires"}).workflow_name
        'sub_01_acq_hires_T1w_anat_repeats'
        """
        return re.sub(r"\W", "_", f"{self.label}_{self.kind}")


@dataclass(frozen=True, slots=True)
class Excluded:
    """An image that is not denoised, and why."""

    path: Path
    reason: str
    is_error: bool = False
    """True where the file or its metadata is broken, False where there is just nothing to do."""
    is_selected: bool = True
    """False where the options leave the image out, and for a participant without any image to look at."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Everything found for the selected participants."""

    units: tuple[DenoisingUnit, ...] = ()
    excluded: tuple[Excluded, ...] = ()
