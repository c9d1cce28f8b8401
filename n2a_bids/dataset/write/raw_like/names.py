"""File names and top files of the raw-like dataset (``--emit-raw-like``).

BIDS keeps names like ``rec-n2a_T1w`` for raw data, which denoised images are not: the dataset says so in
its description and README.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from n2a_bids import __version__
from n2a_bids.dataset.names import derivative_path
from n2a_bids.dataset.read.layout import read_description
from n2a_bids.dataset.write.description import BIDS_VERSION, generated_by
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import write_whole
from n2a_bids.io.json import json_text, listed, read_json
from n2a_bids.io.printable import printable

DENOISED_FROM = "DenoisedFrom"
"""Field of sidecars: files of the input dataset that went in. A raw dataset has no ``Sources``."""
_README = """Denoised images under raw names, made by n2a_bids {version} from "{name}".

These images are processed: `rec-n2a` in their names stands for denoising by n2a_bids. The dataset exists
for tools that accept raw datasets only; switch their own denoising off. Field maps meant for a diffusion
series, and series of b0 images with the opposite phase encoding, are copied from the original dataset.
Everything else of it (functional images, participants.tsv, T1w images that were not denoised) is not here.
QSIPrep wants a T1w image: copy one into the anat folder of each participant that has none.
"""


def raw_like_path(root: Path, entities: Mapping[str, str], suffix: str) -> Path:
    """Name of a denoised image in the dataset that looks raw.

    Examples
    --------
    >>> str(raw_like_path(Path("d"), {"sub": "01", "rec": "norm"}, "T1w"))
    'd/sub-01/anat/sub-01_rec-normn2a_T1w.nii.gz'
    """
    named = {**entities, "rec": f"{entities.get('rec', '')}n2a"}
    return derivative_path(root, named, suffix)


def outdated_raw_like(
    root: Path, bids_dir: Path, images: Iterable[Path], targets: Collection[Path]
) -> list[Path]:
    """Images that an earlier run made of the same ones under other names, with sidecars and tables.

    It may have taken series together that are apart now, or the other way round: a tool that reads the
    dataset would count a measurement twice.

    Parameters
    ----------
    root : Path
        The dataset that looks raw.
    bids_dir : Path
        The input dataset.
    images : iterable of Path
        Files of the input dataset that are denoised.
    targets : collection of Path
        What is made of them now.

    Returns
    -------
    files : list of Path
        Known by `DENOISED_FROM` in their sidecars.
    """
    sources = {image.relative_to(bids_dir).as_posix() for image in images}
    stems = {target.with_name(target.name.partition(".")[0]) for target in targets}
    found = []
    sidecars = [path for folder in {stem.parent for stem in stems} for path in folder.glob("*.json")]
    for sidecar in (path for path in sorted(sidecars) if path.with_suffix("") not in stems):
        # What somebody has spoiled tells nothing.
        with suppress(BIDSDataError):
            if sources & set(map(str, listed(read_json(sidecar).get(DENOISED_FROM)))):
                found += [sidecar.with_suffix(end) for end in (".nii.gz", ".bval", ".bvec", ".json")]
    return found


def write_raw_like_files(root: Path, bids_dir: Path) -> None:
    """Write description and README.

    Parameters
    ----------
    root : Path
        Created where it is missing.
    bids_dir : Path
        The input dataset.
    """
    source = read_description(bids_dir)
    name = printable(source.get("Name", bids_dir.name))
    description = {
        "Name": f"{name}: denoised, under raw names",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [generated_by()],
        "SourceDatasets": [{"URL": bids_dir.resolve().as_uri()}],
    }
    texts = {
        "dataset_description.json": json_text(description) + "\n",
        "README.md": _README.format(version=__version__, name=name),
    }
    for file_name, text in texts.items():
        write_whole(root / file_name, text)
