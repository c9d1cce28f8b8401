"""Field maps of diffusion series, in the dataset that looks raw: names of what they correct rewritten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from n2a_bids.dataset.metadata import SidecarReader
from n2a_bids.dataset.names import parse_name
from n2a_bids.images import whole_file

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


def raw_like_metadata(metadata: Mapping[str, object], fields: Mapping[str, str]) -> dict[str, object]:
    """Metadata of a series that hold for it denoised on its own grid.

    Parameters
    ----------
    metadata : mapping
        Of the series as acquired.
    fields : mapping
        New fields about field maps: the old ones name series that are not in the new dataset.

    Returns
    -------
    metadata : dict
        Without slice timing, which realigned volumes no longer have.
    """
    gone = {"IntendedFor", "SliceTiming", *(_FIELD_KEYS if fields else ("B0FieldIdentifier",))}
    return {key: value for key, value in metadata.items() if key not in gone} | dict(fields)


def copy_field_maps(bids_dir: Path, root: Path, renamed: Mapping[Path, Path]) -> list[Path]:
    """Copy the field maps that are meant for series, with sidecars that name the denoised series.

    Parameters
    ----------
    bids_dir : Path
        The input dataset.
    root : Path
        The dataset that looks raw.
    renamed : mapping of Path to Path
        Series in `bids_dir`, and where they lie in `root`.

    Returns
    -------
    copies : list of Path
        Images copied to ``fmap`` folders of `root`.
    """
    reader = SidecarReader(bids_dir)
    copies = []
    for folder in sorted({series.parent.parent / "fmap" for series in renamed}):
        images = sorted(folder.glob("*.nii*"))
        for image in images:
            metadata = reader.metadata(image)
            targets = _targets(metadata, renamed, reader)
            if not targets:
                continue
            for part in _parts(image, images):
                # Magnitudes carry no IntendedFor of their own.
                own = reader.metadata(part)
                intended = targets if part == image or "IntendedFor" in own else []
                copies.append(_copy(part, own, intended, bids_dir, root))
    return list(dict.fromkeys(copies))


def _targets(
    metadata: Mapping[str, object], renamed: Mapping[Path, Path], reader: SidecarReader
) -> list[Path]:
    """New places of the series that a field map is meant for."""
    intended = [str(text) for text in _listed(metadata.get("IntendedFor"))]
    own = set(map(str, _listed(metadata.get("B0FieldIdentifier"))))
    found = []
    for series, target in renamed.items():
        sources = set(map(str, _listed(reader.metadata(series).get("B0FieldSource"))))
        if own & sources or any(_names(text, series) for text in intended):
            found.append(target)
    return found


def _names(text: str, series: Path) -> bool:
    """Whether an entry of IntendedFor, a BIDS URI or a path below the participant, is this series."""
    wanted = Path(text.removeprefix("bids::"))
    return series.parts[-len(wanted.parts) :] == wanted.parts


def _parts(image: Path, images: Sequence[Path]) -> list[Path]:
    """Images of one field map: the same entities under any suffix, an EPI alone."""
    entities, suffix, _ = parse_name(image)
    if suffix == "epi":
        return [image]
    return [other for other in images if parse_name(other)[0] == entities and parse_name(other)[1] != "epi"]


def _copy(
    image: Path, metadata: Mapping[str, object], targets: Sequence[Path], bids_dir: Path, root: Path
) -> Path:
    copy = root / image.relative_to(bids_dir)
    sidecar = copy.with_name(copy.name.split(".")[0] + ".json")
    kept = {key: value for key, value in metadata.items() if key != "IntendedFor"}
    participant = root / image.relative_to(bids_dir).parts[0]
    # Relative to the participant: pybids, and QSIPrep with it, does not find series by BIDS URI.
    names = {target.relative_to(participant).as_posix() for target in targets}
    earlier = json.loads(sidecar.read_text(encoding="utf-8")) if sidecar.is_file() else {}
    # Another series of the participant may have put its name here.
    names |= {
        str(name) for name in _listed(earlier.get("IntendedFor")) if (participant / str(name)).is_file()
    }
    if names:
        kept["IntendedFor"] = sorted(names)
    with whole_file(sidecar) as temporary:
        temporary.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    with whole_file(copy) as temporary:
        shutil.copyfile(image, temporary)
    return copy


def _listed(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
