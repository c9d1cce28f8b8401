"""Joins magnitude with phase, and real with imaginary files, to one complex image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from n2a_bids.contrasts import MODALITIES
from n2a_bids.dataset.grouping.entities import group_by
from n2a_bids.dataset.read.duplicate_files import with_content_first
from n2a_bids.dataset.units import ComplexParts, DenoisingUnit, Excluded, ImageFile
from n2a_bids.record.typed_json import JsonObject

PARTS = ("mag", "phase", "real", "imag")
"""Labels of ``part-``; an image without one is a magnitude."""


def join_parts(images: Sequence[ImageFile]) -> tuple[list[ImageFile], list[Excluded]]:
    """Make one image of the parts of each complex one.

    Parameters
    ----------
    images : sequence of ImageFile
        Of any kind; those of `n2a_bids.contrasts.MODALITIES` are joined, all others stay as they are.

    Returns
    -------
    images : list of ImageFile
        Magnitudes with their phase, where there is one; real parts, as which a complex image goes that has no
        magnitude of its own.
    excluded : list of Excluded
        Parts without their counterpart, as errors, and real and imaginary parts beside a magnitude.
    """
    by_suffix: dict[str, list[ImageFile]] = {}
    for image in images:
        by_suffix.setdefault(image.suffix, []).append(image)
    joined: list[ImageFile] = []
    excluded: list[Excluded] = []
    for suffix, of_suffix in by_suffix.items():
        if suffix not in MODALITIES:
            joined += of_suffix
            continue
        for members in group_by(of_suffix, ignoring={"part"}):
            family = _Family(members)
            joined += family.images
            excluded += family.excluded
    return joined, excluded


@dataclass(frozen=True, slots=True)
class _Family:
    """Images that differ in ``part`` only."""

    members: tuple[ImageFile, ...]

    def of(self, part: str) -> list[ImageFile]:
        """Images of one part, such as ``phase``; those without ``part`` are magnitudes."""
        found = [image for image in self.members if image.entities.get("part", "mag") == part]
        return with_content_first(found)

    @property
    def images(self) -> list[ImageFile]:
        """Images to be grouped: magnitude and phase, or real and imaginary part, as one complex image."""
        known = [image for image in self.members if image.entities.get("part", "mag") not in PARTS]
        magnitudes, phases = self.of("mag"), self.of("phase")
        # Copies in another format go on as they are, and are named as copies.
        labelled = [image for image in magnitudes if "part" in image.entities] or magnitudes
        if labelled and phases:
            first = _polar(labelled[0], phases[0])
            return [*known, first, *(image for image in magnitudes if image is not labelled[0])]
        if magnitudes or not (self.of("real") and self.of("imag")):
            return [*known, *magnitudes]
        return [*known, _cartesian(self.of("real")[0], self.of("imag")[0])]

    @property
    def excluded(self) -> list[Excluded]:
        """Parts that are not used, each with the reason: no partner, there twice, or there as a magnitude."""
        magnitudes, phases = self.of("mag"), self.of("phase")
        found = []
        for image in phases[1 if magnitudes else 0 :]:
            found.append(_alone(image, "mag") if not magnitudes else _twice(image, phases[0]))
        for part, other in (("real", "imag"), ("imag", "real")):
            mine, its = self.of(part), self.of(other)
            for image in mine:
                if magnitudes:
                    text = f"{image.path.name}: {magnitudes[0].path.name} is the same image, which is taken"
                    found.append(Excluded(image.path, text))
                elif not its:
                    found.append(_alone(image, other))
            if not magnitudes and its:
                found += [_twice(image, mine[0]) for image in mine[1:]]
        return found


def _polar(magnitude: ImageFile, phase: ImageFile) -> ImageFile:
    parts = ComplexParts("polar", phase.path, str(phase.metadata.get("Units") or ""))
    # Converters write one table for both.
    tables = {name: getattr(magnitude, name) or getattr(phase, name) for name in ("bval", "bvec")}
    return replace(magnitude, parts=parts, **tables)


def _cartesian(real: ImageFile, imaginary: ImageFile) -> ImageFile:
    # What is made of both is neither.
    entities = {name: label for name, label in real.entities.items() if name != "part"}
    metadata: JsonObject = {key: value for key, value in real.metadata.items() if key != "Units"}
    tables = real.bval or imaginary.bval, real.bvec or imaginary.bvec
    return ImageFile(real.path, entities, metadata, *tables, parts=ComplexParts("cartesian", imaginary.path))


def _alone(image: ImageFile, other: str) -> Excluded:
    part = image.entities["part"]
    second = image.path.name.replace(f"_part-{part}_", f"_part-{other}_")
    also = " (or the same name without part-)" if other == "mag" else ""
    reason = (
        f"{image.path}: expected {second}{also} beside it, which makes the complex image, found none; put it "
        "there, or leave the file out with --bids-filter-file"
    )
    return Excluded(image.path, reason, is_error=True)


def _twice(image: ImageFile, first: ImageFile) -> Excluded:
    return Excluded(image.path, f"{image.path.name}: the same part as {first.path.name}, which is taken")


def with_second_files(excluded: Sequence[Excluded], images: Sequence[ImageFile]) -> list[Excluded]:
    """Name the second file of each complex image that is left out, too.

    Parameters
    ----------
    images : sequence of ImageFile
        As `join_parts` gave them.
    """
    seconds = {image.path: image.parts.second for image in images if image.parts is not None}
    named = {item.path for item in excluded}
    return [
        *excluded,
        *(
            Excluded(seconds[item.path], f"with {item.path.name}: {item.reason}")
            for item in excluded
            if item.path in seconds and seconds[item.path] not in named
        ),
    ]


def without_faulty_parts(
    images: Sequence[ImageFile], fault: Callable[[ImageFile], Excluded | None], *, ignore_phase: bool
) -> tuple[list[ImageFile], list[Excluded]]:
    """Leave out parts that cannot be used; magnitudes whose phase cannot go on alone.

    Parameters
    ----------
    fault : callable
        What is wrong with the second file of a complex image, or with both together; None if nothing is.
    ignore_phase : bool
        Phases are not used, so that nothing is wrong with one; without its imaginary part a real one is no
        image all the same.

    Returns
    -------
    images : list of ImageFile
    excluded : list of Excluded
    """
    kept, excluded = [], []
    for image in images:
        is_used = image.is_cartesian or (image.parts is not None and not ignore_phase)
        found = fault(image) if is_used else None
        if found is None:
            kept.append(image)
            continue
        excluded.append(found)
        if image.parts.form == "polar":
            kept.append(replace(image, parts=None))
    return kept, excluded


def with_parts_decided(unit: DenoisingUnit, *, ignore_phase: bool) -> DenoisingUnit:
    """Decide whether a unit is denoised as complex data, name its results after that, and say why it is not.

    Parameters
    ----------
    ignore_phase : bool
        The user wants magnitudes.
    """
    complex_images = [image for image in unit.images if image.parts is not None]
    if not complex_images:
        return unit
    if ignore_phase:
        return replace(unit, ignores_phase=True)
    if len(complex_images) < len(unit.images):
        missing = ", ".join(image.path.name for image in unit.images if image.parts is None)
        note = (
            f"magnitudes are denoised, although some images have a phase: there is none that can be used "
            f"for {missing}"
        )
        return replace(unit, notes=(*unit.notes, note))
    entities = {name: label for name, label in unit.entities.items() if name != "part"}
    return replace(unit, entities=entities)
