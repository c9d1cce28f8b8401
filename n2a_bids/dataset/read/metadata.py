"""Reads JSON sidecars of an image by the BIDS inheritance principle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path

from n2a_bids.dataset.names import comparable, parse_name
from n2a_bids.io.json import read_json_object
from n2a_bids.record.typed_json import JsonObject

_REMEDY = "correct the file, or fetch it with 'datalad get' where it is a dangling link"

_DESCRIPTIONS = (".json", ".bval", ".bvec", ".tsv")


class SidecarReader:
    """Finds the files that describe an image in its folder and in those above it.

    Folders are listed once, so that the top of a large dataset is not read again for
    every image.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset: the search never leaves it.
    """

    def __init__(self, bids_dir: Path) -> None:
        self._root = Path(bids_dir)
        self._listings: dict[tuple[Path, str, str], list[tuple[Path, dict[str, str]]]] = {}

    def applicable(self, image: Path, extension: str) -> list[Path]:
        """Files with this extension that apply to an image, the nearest last.

        Parameters
        ----------
        image : Path
            Image inside the dataset.
        extension : str
            ``.json``, ``.bval`` or ``.bvec``.

        Returns
        -------
        files : list of Path
            From the root down; within a folder, from few to many entities. Of two beside the image,
            which BIDS does not foresee, the file of another image, such as ``sub-01_T1w.json`` beside
            ``sub-01_T1w.nii.gz`` for an image with ``acq-hi``, is not among them: it describes another.
        """
        found = self._found(image, extension)
        beside = [_n_specific(required) for path, required in found if path.parent == image.parent]
        return _without_other_images(found, image.parent, most=max(beside, default=0))

    def _found(self, image: Path, extension: str) -> list[tuple[Path, dict[str, str]]]:
        """Files whose entities an image has, with these entities."""
        entities, suffix, _ = parse_name(image)
        own = {key: comparable(key, value) for key, value in entities.items()}
        parts = image.parent.relative_to(self._root).parts
        folders = [self._root.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
        return [
            (path, required)
            for folder in folders
            for path, required in self._described(folder, suffix, extension)
            if required.items() <= own.items()
        ]

    def metadata(self, image: Path) -> JsonObject:
        """Merged JSON sidecars: what stands nearest to the image wins.

        Raises
        ------
        BIDSDataError
            If a sidecar cannot be read or is no JSON object.
        """
        merged: JsonObject = {}
        for sidecar in self.applicable(image, ".json"):
            merged.update(read_json_object(sidecar, expected="a readable JSON sidecar", remedy=_REMEDY))
        # A null takes back what was inherited.
        return {key: value for key, value in merged.items() if value is not None}

    def nearest(self, image: Path, extension: str) -> Path | None:
        """Closest applicable file, for tables that are not merged (``.bval``, ``.bvec``).

        The table of another image would be taken whole, so that a more specific one at any level goes before.
        """
        found = self._found(image, extension)
        most = max((_n_specific(required) for _, required in found), default=0)
        files = _without_other_images(found, image.parent, most=most)
        return files[-1] if files else None

    def _described(self, folder: Path, suffix: str, extension: str) -> list[tuple[Path, dict[str, str]]]:
        key = (folder, suffix, extension)
        if key not in self._listings:
            found = []
            for path in folder.glob(f"*{suffix}{extension}"):
                entities, own_suffix, own_extension = parse_name(path)
                if own_suffix == suffix and own_extension == extension:
                    found.append((path, {name: comparable(name, value) for name, value in entities.items()}))
            self._listings[key] = sorted(found, key=lambda item: (len(item[1]), item[0].name))
        return self._listings[key]


def _without_other_images(
    found: Sequence[tuple[Path, dict[str, str]]], folder: Path, *, most: int
) -> list[Path]:
    """Files but those in a folder of other images that are less specific than the most specific."""
    return [
        path
        for path, required in found
        if _n_specific(required) == most or path.parent != folder or not _has_image(path)
    ]


def _n_specific(entities: Mapping[str, str]) -> int:
    """Number of entities that tell images of one session apart."""
    return len(entities.keys() - {"sub", "ses"})


def _has_image(description: Path) -> bool:
    """Whether an image beside a sidecar or table has its very name."""
    stem = description.name.split(".")[0]
    return any(not path.name.endswith(_DESCRIPTIONS) for path in description.parent.glob(f"{escape(stem)}.*"))
