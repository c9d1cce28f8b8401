"""Field maps in the raw-like dataset (``--emit-raw-like``): copied, ``IntendedFor`` rewritten."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from n2a_bids.dataset.names import parse_name
from n2a_bids.dataset.read.metadata import SidecarReader
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import copied_whole, copy_whole, write_whole
from n2a_bids.io.json import listed, read_json_object, sidecar_path, sidecar_text
from n2a_bids.record.typed_json import JsonObject

_FIELD_KEYS = ("B0FieldIdentifier", "B0FieldSource", "IntendedFor")


def pair_fields(entities: Mapping[str, str]) -> dict[str, str]:
    """Sidecar fields that say of two series of opposite phase encoding that they correct each other.

    Examples
    --------
    >>> pair_fields({"sub": "01", "acq": "hi"})
    {'B0FieldIdentifier': 'pepolar_acqhi', 'B0FieldSource': 'pepolar_acqhi'}
    """
    label = "_".join(["pepolar", *(f"{key}{value}" for key, value in entities.items() if key != "sub")])
    return {"B0FieldIdentifier": label, "B0FieldSource": label}


def raw_like_metadata(
    metadata: Mapping[str, object],
    fields: Mapping[str, str],
    copied: Collection[str] = (),
    *,
    in_place: bool = False,
) -> JsonObject:
    """Metadata of a series that hold for it denoised in its native space.

    Parameters
    ----------
    metadata : mapping
        Of the series as acquired.
    fields : mapping
        New fields about field maps: the old ones name series that are not in the new dataset.
    copied : collection of str
        Identifiers of field maps that are copied: a series that is one of the images that such a field is
        estimated from stays one of them.
    in_place : bool
        Volumes lie where they were acquired, and all series of the dataset are written under their own names:
        slice timing is true, and so is what is said about fields.

    Returns
    -------
    metadata : dict
        Without slice timing, which realigned volumes no longer have.
    """
    if in_place:
        return {key: value for key, value in metadata.items() if key != "IntendedFor"}
    gone = {"IntendedFor", "SliceTiming", *(_FIELD_KEYS if fields else ("B0FieldIdentifier",))}
    kept = {key: value for key, value in metadata.items() if key not in gone} | dict(fields)
    shared = [str(name) for name in listed(metadata.get("B0FieldIdentifier")) if str(name) in copied]
    if shared and not fields:
        kept["B0FieldIdentifier"] = shared[0] if len(shared) == 1 else shared
    return kept


def copied_identifiers(bids_dir: Path, renamed: Mapping[Path, Path]) -> set[str]:
    """``B0FieldIdentifier`` of all field maps that `copy_field_maps` copies for some series."""
    return field_identifiers(metadata for _, metadata, _ in _meant_for(renamed, SidecarReader(bids_dir)))


def field_identifiers(metadata: Iterable[Mapping[str, object]]) -> set[str]:
    """``B0FieldIdentifier`` of all images: fields that are estimated from them, among others.

    Examples
    --------
    >>> sorted(field_identifiers([{"B0FieldIdentifier": ["a", "b"]}, {}, {"B0FieldIdentifier": "c"}]))
    ['a', 'b', 'c']
    """
    return {str(name) for one in metadata for name in listed(one.get("B0FieldIdentifier"))}


def copy_field_maps(
    bids_dir: Path, root: Path, renamed: Mapping[Path, Path], written: Collection[Path]
) -> list[Path]:
    """Copy the field maps that are meant for series, with sidecars that name the denoised series.

    A field map may be meant for several series, which are written at different times, by several processes
    even. It names those that are there; each process that has written series calls this afterwards, so that
    the last of them names all.

    Parameters
    ----------
    bids_dir : Path
        The input dataset.
    root : Path
        The dataset that looks raw.
    renamed : mapping of Path to Path
        All series of the participant in `bids_dir`, and where each will lie in `root`.
    written : collection of Path
        Those of the latter whose field maps are written now: they are in place.

    Returns
    -------
    copies : list of Path
        Images copied to ``fmap`` folders of `root`.

    Raises
    ------
    BIDSDataError
        If the image of a field map that is needed, or its sidecar, cannot be read.
    """
    reader = SidecarReader(bids_dir)
    copies = []
    for image, _, targets in _meant_for(renamed, reader):
        if not set(targets) & set(written):
            continue
        for part in _parts(image, sorted(image.parent.glob("*.nii*"))):
            own = reader.metadata(part)
            # Magnitudes carry no IntendedFor of their own.
            intended = targets if part == image or "IntendedFor" in own else []
            copies.append(_copy(part, own, intended, bids_dir, root))
            _copy_tables(part, copies[-1], reader)
    return list(dict.fromkeys(copies))


def _meant_for(
    renamed: Mapping[Path, Path], reader: SidecarReader
) -> Iterator[tuple[Path, JsonObject, list[Path]]]:
    """Field maps that are meant for some of the series: image, metadata and new names of the series."""
    for folder in sorted({series.parent.parent / "fmap" for series in renamed}):
        for image in sorted(folder.glob("*.nii*")):
            metadata = _metadata(image, renamed, reader)
            if targets := _targets(metadata, renamed, reader):
                yield image, metadata, targets


def _metadata(image: Path, renamed: Mapping[Path, Path], reader: SidecarReader) -> JsonObject:
    """Metadata of a field map; none if they are broken and name no series: then others have to care."""
    try:
        return reader.metadata(image)
    except BIDSDataError:
        files = reader.applicable(image, ".json")
        if not all(path.is_file() for path in files):
            raise
        text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in files)
        names = {series.name for series in renamed}
        names |= {str(name) for series in renamed for name in _sources(series, reader)}
        if any(name in text for name in names):
            raise
        return {}


def _targets(
    metadata: Mapping[str, object], renamed: Mapping[Path, Path], reader: SidecarReader
) -> list[Path]:
    """New names of the series that a field map is meant for."""
    intended = [str(text) for text in listed(metadata.get("IntendedFor"))]
    own = field_identifiers([metadata])
    found = []
    for series, target in renamed.items():
        if own & _sources(series, reader) or any(_names(text, series) for text in intended):
            found.append(target)
    return found


def _sources(series: Path, reader: SidecarReader) -> set[str]:
    """Fields that correct a series."""
    return set(map(str, listed(reader.metadata(series).get("B0FieldSource"))))


def _names(text: str, series: Path) -> bool:
    """Whether an entry of IntendedFor, a BIDS URI or a path below the participant, is this series."""
    target = Path(text.removeprefix("bids::"))
    return series.parts[-len(target.parts) :] == target.parts


def _parts(image: Path, images: Sequence[Path]) -> list[Path]:
    """Images of one field map: the same entities under any suffix, an EPI alone."""
    entities, suffix, _ = parse_name(image)
    if suffix == "epi":
        return [image]
    return [other for other in images if parse_name(other)[0] == entities and parse_name(other)[1] != "epi"]


def _copy(
    image: Path, metadata: Mapping[str, object], targets: Sequence[Path], bids_dir: Path, root: Path
) -> Path:
    if not image.is_file():
        raise BIDSDataError(
            f"{image}: expected the image of a field map, which is meant for a denoised series, found a link "
            "to nothing; fetch it with 'datalad get'"
        )
    copy = root / image.relative_to(bids_dir)
    participant = root / image.relative_to(bids_dir).parts[0]
    kept = {key: value for key, value in metadata.items() if key != "IntendedFor"}
    with copied_whole(image, copy):
        _write_sidecar(sidecar_path(copy), kept, targets, participant)
    return copy


def _copy_tables(image: Path, copy: Path, reader: SidecarReader) -> None:
    """Tables of a field map that is a whole series, by which tools know its b0s."""
    for extension in (".bval", ".bvec"):
        if (table := reader.nearest(image, extension)) is not None and table.is_file():
            copy_whole(table, copy.with_name(copy.name.split(".")[0] + extension))


def _write_sidecar(
    sidecar: Path, metadata: Mapping[str, object], targets: Sequence[Path], participant: Path
) -> None:
    """Write the sidecar of a field map with the names of those series that are there."""
    while True:
        # Relative to the participant: pybids, and QSIPrep with it, does not find series by BIDS URI.
        there = {target.relative_to(participant).as_posix() for target in targets if target.is_file()}
        # An earlier run, of another selection, may have put more names here.
        earlier = listed(_read(sidecar).get("IntendedFor"))
        names = there | {str(name) for name in earlier if (participant / str(name)).is_file()}
        content = dict(metadata) | ({"IntendedFor": sorted(names)} if names else {})
        write_whole(sidecar, sidecar_text(content) + "\n")
        # A series that appeared meanwhile, and whose process has named it here, would lose its name again.
        if all(target.relative_to(participant).as_posix() in names for target in targets if target.is_file()):
            return


def _read(sidecar: Path) -> JsonObject:
    """A sidecar that an earlier run wrote; one that somebody has spoiled is written anew."""
    try:
        return read_json_object(sidecar, expected="a sidecar", remedy="")
    except BIDSDataError:
        return {}
