"""Collects every group of images to denoise of the selected participants, and every excluded image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from n2a_bids.config import SelectionConfig
from n2a_bids.contrasts import IMAGE_SUFFIXES, MICR_SUFFIXES, modality_of, selected_modalities
from n2a_bids.dataset.grouping.anat import SINGLE_REMEDY
from n2a_bids.dataset.grouping.complex_parts import join_parts, with_second_files
from n2a_bids.dataset.grouping.sound_groups import group_sound_images, is_diffusion, with_broken_partners
from n2a_bids.dataset.names import invalid_parts, is_label, parse_name, stray_parts
from n2a_bids.dataset.read.complex_parts import header_fault
from n2a_bids.dataset.read.duplicate_files import note_duplicates
from n2a_bids.dataset.read.fieldmaps import find_fieldmaps
from n2a_bids.dataset.read.files import (
    has_content,
    images_named_by_converters,
    images_of_other_formats,
    images_out_of_reach,
    kind_problem,
)
from n2a_bids.dataset.read.filters import matches, name_filters
from n2a_bids.dataset.read.image_checks import header_problem, placement_notes
from n2a_bids.dataset.read.layout import (
    closed_folders,
    image_folders,
    list_images,
    read_description,
    select_participants,
)
from n2a_bids.dataset.read.metadata import SidecarReader
from n2a_bids.dataset.read.micrographs import (
    EXTENSIONS,
    has_micrograph_name,
    micrograph_problem,
    micrographs_of_other_formats,
)
from n2a_bids.dataset.units import Collection, DenoisingUnit, Excluded, ImageFile
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.printable import printable
from n2a_bids.strategy_table import find_strategy, reason_against

_NIFTI = (".nii", ".nii.gz")
_PROCESSED = (
    "the dataset is a derivative (DatasetType), its images were processed before: noise that was filtered or "
    "interpolated is known less surely, and less of it goes; give them as they were acquired, where you can"
)


def collect(bids_dir: Path, selection: SelectionConfig) -> Collection:
    """Look for images to denoise together.

    Parameters
    ----------
    bids_dir : Path
        Root of a BIDS dataset.
    selection : SelectionConfig
        Participants, sessions, modalities and filters.

    Returns
    -------
    collection : Collection
        Units and images left out, each with its reason; a broken file is left out with
        ``is_error=True`` and does not stop the others.

    Raises
    ------
    BIDSDataError
        If the dataset as a whole cannot be used, or a label that was asked for is not there.
    ConfigError
        If a filter names an unknown entity.
    """
    bids_dir = Path(bids_dir).absolute()
    description = read_description(bids_dir)
    selected = select_participants(bids_dir, selection)
    participants = [label for label in selected if is_label(label)]
    paths = list_images(bids_dir, participants, selection) if participants else []
    _check_sessions(bids_dir, participants, selection)
    reader = SidecarReader(bids_dir)
    read = [_read_image(path, bids_dir, reader, selection) for path in paths]
    read += find_fieldmaps([item for item in read if isinstance(item, ImageFile)], reader)
    kept, parts_alone = join_parts([item for item in read if isinstance(item, ImageFile)])
    # One without images is named as such, whatever else lies there.
    with_images = {label for image in kept if (label := image.entities.get("sub"))}
    found = group_sound_images(kept, selection, lambda image: _header_problem(image.path), header_fault)
    excluded = [
        *(item for item in read if isinstance(item, Excluded)),
        *parts_alone,
        *with_second_files([_with_remedy(item) for item in found.excluded], kept),
        *(_odd_participant(bids_dir, label) for label in selected if label not in participants),
        *_without_images(bids_dir, participants, paths, selection),
        *_found_by(images_of_other_formats, bids_dir, with_images, selection),
        *_found_by(micrographs_of_other_formats, bids_dir, with_images, selection),
        *_found_by(images_named_by_converters, bids_dir, participants, selection),
    ]
    units = tuple(_with_placement(unit) for unit in note_duplicates(found.units, bids_dir))
    if description.get("DatasetType") == "derivative":
        units = tuple(replace(unit, notes=(*unit.notes, _PROCESSED)) for unit in units)
    everything = Collection(units, tuple(sorted(excluded, key=lambda item: item.path.parts)))
    return with_broken_partners(everything)


def _with_placement(unit: DenoisingUnit) -> DenoisingUnit:
    """Add notes on each image whose header does not place it."""
    images = [image for image in unit.images if not has_micrograph_name(image.path)]
    return unit.with_image_notes({image.path: placement_notes(image.path) for image in images})


def _with_remedy(item: Excluded) -> Excluded:
    """An image that was not repeated: --single is no remedy for one that it could not take either."""
    if not item.reason.endswith(SINGLE_REMEDY) or not has_content(item.path):
        return item
    problem = header_problem(item.path)
    if not problem:
        return item
    told = problem.removeprefix(f"{printable(item.path)}: ")
    reason = f"{item.reason.removesuffix(SINGLE_REMEDY)}, and --single could not take it either: {told}"
    return replace(item, reason=reason)


def _header_problem(path: Path) -> str:
    return micrograph_problem(path) if has_micrograph_name(path) else header_problem(path)


def _odd_participant(bids_dir: Path, label: str) -> Excluded:
    folder = bids_dir / f"sub-{label}"
    reason = (
        f"{printable(folder)}: expected a participant whose label has letters and digits only, found "
        f"'{printable(label)}'; rename the folder and its files, or leave it out with "
        "--exclude-participant-label"
    )
    return Excluded(folder, reason, is_error=True)


def _query(image: ImageFile) -> str:
    """Name of the query of the filter file that selects an image."""
    suffix = image.suffix
    # Names of the wrong case are found too, to be named as wrong.
    known = {name.lower(): name for name in IMAGE_SUFFIXES}.get(suffix.lower())
    return "dwi" if is_diffusion(image) or known is None else modality_of(known).lower()


def _check_sessions(bids_dir: Path, participants: Sequence[str], selection: SelectionConfig) -> None:
    for session in (label.removeprefix("ses-") for label in selection.sessions):
        if not any((bids_dir / f"sub-{label}" / f"ses-{session}").is_dir() for label in participants):
            raise BIDSDataError(
                f"{bids_dir}: expected session ses-{session}, found it for none of the {len(participants)} "
                "selected participants; correct --session-label"
            )


def _read_image(
    path: Path, bids_dir: Path, reader: SidecarReader, selection: SelectionConfig
) -> ImageFile | Excluded:
    image = ImageFile(path, parse_name(path)[0])
    query = _query(image)
    filters = selection.bids_filters.get(query, {})
    excluded = Excluded(path, f"the BIDS filters of '{query}' do not select it", is_selected=False)
    # Names come first: what a filter excludes need not be sound.
    if selection.runs and not matches(image, {"run": selection.runs}):
        return Excluded(path, "--run-id does not select it", is_selected=False)
    if not matches(image, name_filters(filters)):
        return excluded
    reason = _reason_bad_name(path.relative_to(bids_dir), image.entities)
    if reason:
        return Excluded(path, f"{printable(path)}: {reason}", is_error=True)
    # Headers of diffusion series are read to pair them; a second file is looked at with its first, if used.
    is_second = parse_name(path)[1] == "dwi" and image.entities.get("part") in ("phase", "imag")
    # Micrographs may be folders; they are looked at where they are grouped.
    look = header_problem if query == "dwi" and not is_second else kind_problem
    problem = "" if has_micrograph_name(path) else look(path)
    if problem:
        return Excluded(path, problem, is_error=True)
    tables = (reader.nearest(path, ".bval"), reader.nearest(path, ".bvec")) if query == "dwi" else ()
    try:
        image = ImageFile(path, image.entities, reader.metadata(path), *tables)
    except BIDSDataError as error:
        return Excluded(path, str(error), is_error=True)
    return image if matches(image, filters) else excluded


def _reason_bad_name(path: Path, entities: Mapping[str, str]) -> str:
    """What is wrong with the name of an image, or an empty string."""
    # A file copied to another participant and not renamed must not mix two people.
    if list(path.parts[:-2]) != [f"{name}-{entities[name]}" for name in ("sub", "ses") if name in entities]:
        return (
            "expected a name that begins with the participant and session of its folders, found another; "
            "rename or move the file"
        )
    _, suffix, extension = parse_name(path)
    wrong = [
        *stray_parts(path),
        *invalid_parts(entities),
        *([suffix] if suffix not in IMAGE_SUFFIXES else []),
        *([extension] if extension not in (EXTENSIONS if suffix in MICR_SUFFIXES else _NIFTI) else []),
    ]
    if wrong:
        return (
            "expected entities of BIDS, each once, with labels of letters and digits, and an end such as "
            f"{'_TEM.tif' if suffix in MICR_SUFFIXES else '_T1w.nii.gz'}, found "
            f"{printable(', '.join(wrong))}; rename the file"
        )
    return ""


def _without_images(
    bids_dir: Path, participants: Sequence[str], paths: Sequence[Path], selection: SelectionConfig
) -> list[Excluded]:
    there = {path.relative_to(bids_dir).parts[0] for path in paths}
    *others, last = selected_modalities(selection.modalities)
    what = f"{', '.join(others)} or {last} image" if others else f"{last} image"
    what += " in the sessions asked for" if selection.sessions else ""
    excluded = [
        Excluded(
            folder,
            f"{folder}: expected a folder that can be read, found no permission; change it (chmod)",
            is_error=True,
        )
        for folder in closed_folders(bids_dir, participants)
    ]
    closed = {bids_dir / item.path.relative_to(bids_dir).parts[0] for item in excluded}
    for label in participants:
        folder = bids_dir / f"sub-{label}"
        if folder.name not in there and folder not in closed:
            hint = images_out_of_reach(folder, (*others, last))
            excluded.append(Excluded(folder, f"{folder.name}: no {what}{hint}", is_selected=False))
    return excluded


def _found_by(
    find: Callable[[Path, Sequence[str]], dict[Path, str]],
    bids_dir: Path,
    participants: Iterable[str],
    selection: SelectionConfig,
) -> list[Excluded]:
    """What lies in the folders of participants under names that are no images of BIDS."""
    folders = image_folders(bids_dir, sorted(participants), selection)
    suffixes = selected_modalities(selection.modalities)
    found = [find(folder, suffixes) for folder in folders]
    return [Excluded(path, reason) for one in found for path, reason in one.items()]


def leave_out_unsuitable(collection: Collection, strategy: str) -> Collection:
    """Move groups that a strategy cannot take to the images left out.

    Nothing stays beside a series where the strategy does not learn from another one.

    Parameters
    ----------
    collection : Collection
        Everything found.
    strategy : str
        Value of ``--strategy``.
    """
    units = tuple(_with_companion(unit, strategy) for unit in collection.units if not _reason(unit, strategy))
    others = [
        Excluded(image.path, f"{unit.label}: {reason}")
        for unit in collection.units
        if (reason := _reason(unit, strategy))
        for image in unit.images
    ]
    excluded = sorted([*collection.excluded, *others], key=lambda item: item.path.parts)
    return Collection(units, tuple(excluded))


def _with_companion(unit: DenoisingUnit, strategy: str) -> DenoisingUnit:
    """The unit, with another series beside, or the reason why not, only where the strategy would learn."""
    if not unit.lies_in_place or find_strategy(strategy, unit.datatype).learns_from_another:
        return unit
    return replace(unit, companion=None, companion_notes=())


def _reason(unit: DenoisingUnit, strategy: str) -> str:
    why = reason_against(strategy, unit.kind)
    return f"--strategy {strategy} {why}; use --strategy auto" if why else ""
