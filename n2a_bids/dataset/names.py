"""BIDS file names: parses entities, builds the names of derivatives and BIDS URIs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from n2a_bids.config import Config
from n2a_bids.contrasts import ANAT_SUFFIXES, MICR_SUFFIXES, datatype_of

# Order of the BIDS schema; from, to, mode (transforms), model and param (maps) are not in it: before desc.
ENTITY_ORDER = (
    *("sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec", "dir"),
    *("run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording"),
    *("chunk", "seg", "res", "den", "label", "from", "to", "mode", "model", "param", "desc"),
)
INDEX_ENTITIES = frozenset({"run", "echo", "flip", "inv", "split", "chunk"})
"""Entities whose value is a number: ``run-1`` and ``run-01`` are the same."""


def parse_name(path: Path) -> tuple[dict[str, str], str, str]:
    """Split a file name into entities, suffix and extension.

    Parameters
    ----------
    path : Path
        Only the name is used; the file need not exist.

    Returns
    -------
    entities : dict
        Short entity names and labels, in the order of the name.
    suffix, extension : str
        ``T1w`` and ``.nii.gz``; an extension keeps all its dots.

    Examples
    --------
    >>> parse_name(Path("sub-01_run-02_T1w.nii.gz"))
    ({'sub': '01', 'run': '02'}, 'T1w', '.nii.gz')
    """
    stem, dot, extension = path.name.partition(".")
    *pairs, suffix = stem.split("_")
    entities = {}
    for pair in pairs:
        key, dash, value = pair.partition("-")
        if dash:
            entities[key] = value
    return entities, suffix, dot + extension


def name_field(entities: Mapping[str, str]) -> str:
    """What a micrograph shows, by the entities of its name: another session, stain or run shows the same.

    Examples
    --------
    >>> name_field({"sub": "01", "ses": "2", "sample": "A", "stain": "HE", "run": "1", "chunk": "3"})
    '01_sample-A_chunk-3'
    """
    shown = [f"{key}-{entities[key]}" for key in ("sample", "chunk") if key in entities]
    return "_".join([entities["sub"], *shown])


def invalid_parts(entities: Mapping[str, str]) -> list[str]:
    """Parts of a name that BIDS does not know: other entities, or labels with other characters.

    Examples
    --------
    >>> invalid_parts({"sub": "01", "acq": "high-res", "colour": "red", "run": "²"})
    ['acq-high-res', 'colour-red', 'run-²']
    """
    return [
        f"{key}-{label}" for key, label in entities.items() if key not in ENTITY_ORDER or not is_label(label)
    ]


def is_label(text: str) -> bool:
    """Whether a text may be a label: ASCII letters, digits and ``+``, at least one of the former.

    Examples
    --------
    >>> is_label("01"), is_label("²"), is_label("hi res"), is_label("")
    (True, False, False, False)
    """
    return text.isascii() and text.replace("+", "").isalnum()


def stray_parts(path: Path) -> list[str]:
    """Parts of a name that `parse_name` has no place for: without a dash, or an entity for the second time.

    Examples
    --------
    >>> stray_parts(Path("sub-01_defaced_run-2_run-3_T1w.nii.gz"))
    ['defaced', 'run-3']
    """
    pairs = path.name.partition(".")[0].split("_")[:-1]
    keys = [pair.partition("-")[0] for pair in pairs]
    return [pair for i, pair in enumerate(pairs) if "-" not in pair or keys[i] in keys[:i]]


def comparable(entity: str, value: object) -> str:
    """Label in a form that can be compared: numbers lose their leading zeros.

    Examples
    --------
    >>> comparable("run", "02"), comparable("acq", "02")
    ('2', '02')
    """
    text = str(value)
    # Other digits, as of "run-²", are no numbers to Python.
    is_number = text.isascii() and text.isdigit()
    return str(int(text)) if entity in INDEX_ENTITIES and is_number else text


def shared_suffix_labels(suffix: str, image_suffix: str) -> dict[str, str]:
    """Entities that keep files apart whose own suffix does not tell which contrast they belong to.

    Those of T1w images and of diffusion series have none. A brain mask of another contrast names the image
    that it lies on as its space, so that nobody takes it for that of the T1w; what BIDS has no name for
    (``figures``) gets the modality.

    Examples
    --------
    >>> shared_suffix_labels("mask", "T2w"), shared_suffix_labels("figures", "T2w")
    ({'space': 'T2w'}, {'mod': 'T2w'})
    >>> shared_suffix_labels("mask", "T1w"), shared_suffix_labels("T2w", "T2w")
    ({}, {})
    """
    if suffix in (image_suffix, "xfm") or image_suffix in ("T1w", "dwi"):
        return {}
    return {"space" if suffix in ("mask", "dseg") else "mod": image_suffix}


def unit_entities(path: Path) -> tuple[tuple[str, str], ...]:
    """Entities of a file less ``desc``; last its contrast, as ``mod``, unless that is T1w or dwi.

    Examples
    --------
    >>> unit_entities(Path("sub-01_space-T2w_desc-brain_mask.nii.gz"))
    (('sub', '01'), ('space', 'T2w'), ('mod', 'T2w'))
    >>> unit_entities(Path("sub-01_run-1_desc-alignment_T1w.svg"))
    (('sub', '01'), ('run', '1'))
    """
    entities, suffix, _ = parse_name(path)
    told = {suffix, *(entities.get(key) for key in ("mod", "space", "to"))}
    contrast = next((other for other in (*ANAT_SUFFIXES[1:], *MICR_SUFFIXES) if other in told), None)
    own = tuple((key, value) for key, value in entities.items() if key not in ("desc", "mod"))
    return own if contrast is None else (*own, ("mod", contrast))


def derivative_path(
    output_dir: Path,
    entities: Mapping[str, str],
    suffix: str,
    *,
    desc: str | None = None,
    extension: str = ".nii.gz",
    datatype: str | None = None,
) -> Path:
    """Where a derivative goes: the one place that decides on names.

    Parameters
    ----------
    output_dir : Path
        Root of the derivative dataset.
    entities : mapping
        Short entity names and labels, in any order; ``sub`` is required. A transform
        brings ``from``, ``to`` and ``mode`` here.
    suffix : str
        ``T1w``, ``dwi``, ``mask``, ``xfm``...
    desc : str, optional
        Label of ``desc-``.
    extension : str
        With the dot.
    datatype : str, optional
        Folder (``anat``, ``dwi``, ``figures``); by default that of the suffix.
        Figures have no session folder: reports look for them in ``sub-<label>/figures``.

    Returns
    -------
    path : Path
        Nothing is created.

    Raises
    ------
    ValueError
        If an entity is unknown or a label has other characters than letters, digits and ``+``.

    Examples
    --------
    >>> str(derivative_path(Path("out"), {"sub": "01", "run": "1"}, "T1w", desc="denoised"))
    'out/sub-01/anat/sub-01_run-1_desc-denoised_T1w.nii.gz'
    """
    labels = dict(entities) if desc is None else {**entities, "desc": desc}
    if "sub" not in labels or invalid_parts(labels):
        raise ValueError(
            f"a derivative name needs sub, entities of BIDS and labels of letters, digits, +: found {labels}"
        )
    name = "_".join([*(f"{key}-{labels[key]}" for key in ENTITY_ORDER if key in labels), suffix])
    datatype = datatype or datatype_of(suffix)
    folder = Path(output_dir) / f"sub-{labels['sub']}"
    if "ses" in labels and datatype != "figures":
        folder /= f"ses-{labels['ses']}"
    return folder / datatype / (name + extension)


def bids_uri(path: Path, datasets: Mapping[str, Path]) -> str:
    """BIDS URI of a file, as ``Sources`` of a sidecar hold it.

    Parameters
    ----------
    path : Path
        File in one of the datasets.
    datasets : mapping of str to Path
        Name of each dataset in ``DatasetLinks`` and its root; the empty name is the
        dataset that holds the sidecar.

    Returns
    -------
    uri : str
        ``bids:<name>:<path>``; the deepest dataset that holds the file names it.

    Raises
    ------
    ValueError
        If the file is in none of the datasets.

    Examples
    --------
    >>> datasets = {"raw": Path("/data"), "": Path("/data/derivatives/n2a")}
    >>> bids_uri(Path("/data/sub-01/anat/sub-01_T1w.nii.gz"), datasets)
    'bids:raw:sub-01/anat/sub-01_T1w.nii.gz'
    """
    path = Path(path).absolute()
    roots = sorted(
        ((Path(root).absolute(), name) for name, root in datasets.items()),
        key=lambda item: -len(item[0].parts),
    )
    for root, name in roots:
        if path.is_relative_to(root):
            return f"bids:{name}:{path.relative_to(root).as_posix()}"
    raise ValueError(f"{path} is in none of {', '.join(str(root) for root, _ in roots)}")


def source_uri(path: Path, config: Config) -> str:
    """BIDS URI of a file in the input, in the output, or in a derivative that the user named."""
    return bids_uri(path, {"raw": config.bids_dir, "": config.output_dir, **config.derivatives})
