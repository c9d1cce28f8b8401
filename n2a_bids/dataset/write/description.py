"""Writes ``dataset_description.json``, label descriptions, README and ``.bidsignore`` of the output."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from n2a_bids import __url__, __version__
from n2a_bids.dataset.read.layout import read_description
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import whole_file
from n2a_bids.io.json import json_text, read_json_object
from n2a_bids.io.printable import printable
from n2a_bids.record.typed_json import JsonObject

BIDS_VERSION = "1.10.0"
DESCRIPTIONS = {
    "brain": "Brain mask",
    "denoised": "Denoised image: repetitions are aligned and combined, a single series keeps its grid",
    "mean": "Plain mean of the aligned repetitions: what averaging alone gives",
    "noisesd": "Estimated standard deviation of the noise of one repetition",
    "owngrid": "Denoised series on the grid of one of its sources, with whatever distortion that has",
    "preproc": "Denoised image, corrected for the bias field, under the name that fMRIPrep looks for",
    "regions": "Regions of an atlas (dseg), and noise, expected error and gain in them (stats)",
    "residual": "What denoising took away: mean of the repetitions minus denoised image",
    "uncertainty": "Expected error (standard deviation) of each voxel of the denoised image, in the brain",
    "susceptibility": "Displacement by susceptibility, in voxels along the phase-encoding axis",
}
# No closing slash: the validator tests the name of a folder without one.
_IGNORED = (
    *("*.html", "logs", "log", "figures", "*_xfm.*", "*_figures.json", "*_rating*.json", "group_*"),
    "weights",
    # Containers often have one writable folder: the work directory is then inside of the output.
    "work",
    *("*_dwimap.*", "*_displacement.*", "*_stats.*"),
    # The schema has no gradient tables with desc-, although it asks for them.
    *("*.bval", "*.bvec"),
)
_SIGNATURE = "Made by [n2a_bids](dataset_description.json)"
"""A README without it is somebody else's."""
_README = """# Denoised images

{signature} {version} from the dataset "{name}".

| file | content |
|---|---|
{rows}
| `sub-<label>.html` | report: look at it before using the images |
| `*_xfm.txt` | rigid transforms, ITK format, from each repetition to the grid of the result |

fMRIPrep can use this dataset (`--derivatives`) only where there is a `desc-preproc_T1w`, which n2a writes
with `--fmriprep-derivatives`: without, it would take the brain mask alone and lay it on a reference of its
own. Where a participant has one in several sessions, it needs `--subject-anatomical-reference sessionwise`.

`descriptions.tsv` explains the `desc-` labels, the JSON sidecars say what was done to each image.
"""


def generated_by() -> JsonObject:
    """This program as ``GeneratedBy`` names it, with ``CodeURL`` once the address of the code is known."""
    what = "Denoising of repeated MRI and micrographs"
    named: JsonObject = {"Name": "n2a", "Version": __version__, "Description": what}
    return {**named, "CodeURL": __url__} if __url__ else named


def write_dataset_files(
    output_dir: Path,
    bids_dir: Path,
    derivatives: Mapping[str, Path],
    environ: Mapping[str, str] = os.environ,
    *,
    work_dir: Path | None = None,
) -> tuple[str, ...]:
    """Write what makes the output folder a BIDS derivative dataset.

    Safe to call from parallel processes: each file appears whole, and all processes of
    a run write the same content. Links to other datasets that an earlier run left are kept, and so are
    a README and lines of ``.bidsignore`` that others have written.

    Parameters
    ----------
    output_dir : Path
        Created where it is missing.
    bids_dir : Path
        The input dataset: linked as ``raw``.
    derivatives : mapping of str to Path
        Derivatives that were used: linked under their names.
    environ : mapping
        Where ``N2A_DOCKER_TAG`` and ``N2A_APPTAINER_URL`` name the container.
    work_dir : Path, optional
        Of intermediate files: no part of the dataset, wherever in it they lie.

    Returns
    -------
    problems : tuple of str
        One sentence per file that exists but could not be renewed, and one where results of another dataset
        are there: worth a warning, no reason to stop.

    Raises
    ------
    BIDSDataError
        If a file is missing and cannot be written.
    """
    output_dir, bids_dir = Path(output_dir), Path(bids_dir)
    raw = read_description(bids_dir)
    links = {"raw": bids_dir, **derivatives}
    description = dataset_description(raw, output_dir, links, environ)
    mixed = _mixed_datasets(output_dir, description)
    rows = "\n".join(f"| `*_desc-{label}_*` | {text} |" for label, text in DESCRIPTIONS.items())
    table = "\n".join(
        ["desc_id\tdescription", *(f"desc-{label}\t{text}" for label, text in DESCRIPTIONS.items())]
    )
    texts = {
        "dataset_description.json": json_text(description, ensure_ascii=False) + "\n",
        "descriptions.tsv": table + "\n",
        ".bidsignore": "\n".join(_ignored(output_dir, work_dir)) + "\n",
    }
    if _may_be_written(output_dir / "README.md"):
        name = printable(raw.get("Name", bids_dir.name))
        texts["README.md"] = _README.format(signature=_SIGNATURE, version=__version__, name=name, rows=rows)
    # What the samples of micrographs are: without it, their derivatives are no valid dataset.
    samples = bids_dir / "samples.tsv"
    if samples.is_file():
        texts["samples.tsv"] = _text(samples)
    problems = (_write_or_explain(output_dir / name, text) for name, text in texts.items())
    return tuple(problem for problem in (mixed, *problems) if problem)


def dataset_description(
    raw: Mapping[str, object], output_dir: Path, links: Mapping[str, Path], environ: Mapping[str, str]
) -> JsonObject:
    """Content of ``dataset_description.json`` of the output.

    Parameters
    ----------
    raw : mapping
        Description of the input dataset.
    output_dir : Path
        Where the output goes; links that an earlier description there has are kept.
    links : mapping of str to Path
        ``DatasetLinks``: name and root of each dataset that sources come from.
    environ : mapping
        Environment variables that name the container.

    Returns
    -------
    description : dict
        JSON-able.
    """
    # BIDS wants this name inside the name of the folder when the output lies in derivatives/ of the input.
    generator = generated_by()
    container = _container(environ)
    if container:
        generator["Container"] = container
    description: JsonObject = {
        "Name": f"{printable(raw.get('Name', 'Untitled dataset'))}: denoised with n2a_bids",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generator],
        "DatasetLinks": {
            **_earlier_links(output_dir),
            **{name: _link(Path(root), output_dir) for name, root in links.items()},
        },
    }
    if isinstance(raw.get("License"), str):
        description["License"] = printable(raw["License"])
    doi = raw.get("DatasetDOI")
    if isinstance(doi, str) and doi:
        doi = printable(doi).removeprefix("https://doi.org/").removeprefix("doi:")
        description["SourceDatasets"] = [{"URL": f"https://doi.org/{doi}", "DOI": f"doi:{doi}"}]
    return description


def _container(environ: Mapping[str, str]) -> dict[str, str] | None:
    tag, url = environ.get("N2A_DOCKER_TAG", ""), environ.get("N2A_APPTAINER_URL", "")
    named = {"Tag": tag if ":" in tag or "/" in tag else f"n2a:{tag}"} if tag else {}
    # Images of Docker, too, are run by Apptainer, which sets one of these.
    if url or environ.keys() & {"APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"}:
        return {"Type": "apptainer", **named, **({"URI": url} if url else {})}
    return {"Type": "docker", **named} if named else None


def _link(root: Path, output_dir: Path) -> str:
    """Relative for an output inside the dataset, so that the dataset can be moved; else a file URI."""
    root, output_dir = root.resolve(), output_dir.resolve()
    if output_dir.is_relative_to(root) and output_dir != root:
        return "../" * len(output_dir.relative_to(root).parts)
    return root.as_uri()


def _mixed_datasets(output_dir: Path, description: JsonObject) -> str:
    """What to say where an earlier run wrote results of another dataset here; empty where none is known.

    A dataset that was moved, or is bound into a container, keeps its name; one that was renamed its place.
    """
    earlier, links = _earlier(output_dir).get("Name"), _earlier_links(output_dir)
    now = description["DatasetLinks"]["raw"]
    if earlier in (None, description["Name"]) or links.get("raw") in (None, now):
        return ""
    return (
        f"{output_dir} holds results of another dataset, {links['raw']} ({printable(earlier)}): participants "
        "of the same label are replaced, and the group level takes both for one; give each dataset an output "
        "folder of its own"
    )


def _earlier(output_dir: Path) -> JsonObject:
    """Description that an earlier run wrote, if it can be read."""
    try:
        return read_json_object(output_dir / "dataset_description.json", expected="a description", remedy="")
    except BIDSDataError:
        return {}


def _earlier_links(output_dir: Path) -> dict[str, str]:
    links = _earlier(output_dir).get("DatasetLinks")
    return (
        {name: link for name, link in links.items() if isinstance(link, str)}
        if isinstance(links, dict)
        else {}
    )


def _ignored(output_dir: Path, work_dir: Path | None) -> tuple[str, ...]:
    """Lines of ``.bidsignore``: ours, then those of others."""
    path = output_dir / ".bidsignore"
    there = _text(path).splitlines() if path.is_file() else []
    root, work = output_dir.resolve(), None if work_dir is None else work_dir.resolve()
    inside = [] if work is None or root not in work.parents else [work.relative_to(root).parts[0]]
    # As in .gitignore, a backslash takes their meaning from what else would stand for other names.
    named = [re.sub(r"([\\*?\[\]#! ])", r"\\\1", name) for name in inside]
    return tuple(dict.fromkeys((*_IGNORED, *named, *filter(None, there))))


def _may_be_written(readme: Path) -> bool:
    return not readme.exists() or _SIGNATURE in _text(readme)


def _text(path: Path) -> str:
    """Text in whatever encoding: it comes back unchanged when it is written the same way."""
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _write_or_explain(path: Path, text: str) -> str:
    content = text.encode("utf-8", errors="surrogateescape")
    try:
        if not (path.is_file() and path.read_bytes() == content):
            with whole_file(path) as temporary:
                temporary.write_bytes(content)
    except OSError as error:
        if path.is_file():
            return f"{path} could not be renewed ({error.strerror}): the earlier one is kept"
        raise BIDSDataError(
            f"{path}: expected a folder that can be written, found {type(error).__name__}: {error.strerror}; "
            "correct its permissions, free space, or choose another output folder"
        ) from error
    return ""
