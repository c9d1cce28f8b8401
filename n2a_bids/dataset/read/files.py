"""Checks files without loading them: missing, empty, cut short, or not NIfTI."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import nibabel as nb

from n2a_bids.errors import BIDSDataError
from n2a_bids.io.images import UNREADABLE, lacks_voxel_sizes

_FORMATS = r"\.(?:mgz|mgh|img|hdr|nrrd|nhdr|mha|mhd|dcm|ima|par|rec|mnc|mif(?:\.gz)?|nii(?:\.gz)?)"
_OF_NO_BIDS = "is of a format that BIDS does not have: convert it to NIfTI (.nii.gz)"
_LONGEST_PATTERN = 1000
"""Letters of a line of ``.bidsignore`` that is looked at."""
_FURTHER = r"__dup-?\d+|\d+|[a-z]|_e\d+[a-z]?"
"""What converters put behind the suffix of a second image of one name."""
_FOLDERS = ("anat", "dwi", "fmap", "micr")
_MOST_FILES = 20_000
"""Looked at: a folder with the DICOM files of a study must not hold up the list."""
_HEADER_SIZES = [size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")]
"""How a NIfTI file begins that is not compressed."""
_POINTERS = {b"/annex/objects/": "a git-annex pointer", b"version https://git-lfs": "a Git LFS pointer"}


def file_problem(path: Path) -> str:
    """What keeps the file of an image from being read, with the remedy; empty if nothing does.

    Only the file is looked at, not the image in it: a list of a large dataset takes no longer for it.
    """
    return problem_found_by(check_file, Path(path))


def kind_problem(path: Path) -> str:
    """What is wrong where a name of an image is that of a folder, a pipe or a device; empty if it is not."""
    return problem_found_by(check_kind, Path(path))


def problem_found_by(check: Callable[[Path], object], path: Path) -> str:
    """Message of the error that a check raises; empty if it raises none."""
    try:
        check(path)
    except BIDSDataError as error:
        return str(error)
    except OSError as error:
        return (
            f"{path}: expected a file that can be read, found {type(error).__name__}: {error.strerror}; "
            "correct its permissions and those of its folders"
        )
    return ""


def has_content(path: Path) -> bool:
    """Whether there is more than a name: a link of DataLad, an empty file or a pointer is no content."""
    try:
        if path.stat().st_size == 0:
            return False
        with path.open("rb") as stream:
            start = stream.read(32)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return not any(start.startswith(magic) for magic in _POINTERS)


def check_kind(path: Path) -> None:
    """Refuse folders, pipes and devices: a pipe would be waited for."""
    if path.exists() and not path.is_file():
        found = "a folder" if path.is_dir() else "a pipe or a device"
        raise BIDSDataError(
            f"{path}: expected an image, found {found}; remove it, or put the image in its place"
        )


def check_file(path: Path) -> None:
    """Refuse what is no readable file with content."""
    if path.is_symlink() and not path.exists():
        annex = ".git/annex" in os.readlink(path)
        kind = "a DataLad (git-annex) link to content that was not fetched" if annex else "a link to nothing"
        remedy = f"run 'datalad get {path}'" if annex else "restore the file it points to"
        raise BIDSDataError(f"{path}: expected an image, found {kind}; {remedy}")
    check_kind(path)
    if not path.is_file():
        raise BIDSDataError(
            f"{path}: expected an image, found no such file; correct the path or restore the file"
        )
    if path.stat().st_size == 0:
        raise BIDSDataError(
            f"{path}: expected an image, found an empty file of 0 bytes; copy or convert it again"
        )
    try:
        with path.open("rb") as stream:
            start = stream.read(32)
    except OSError as error:
        raise BIDSDataError(
            f"{path}: expected a readable file, found {type(error).__name__}: {error.strerror}; correct its "
            "permissions (chmod u+r) or check the disk"
        ) from error
    for magic, kind in _POINTERS.items():
        if start.startswith(magic):
            raise BIDSDataError(
                f"{path}: expected an image, found {kind}; fetch the content ('datalad get {path}')"
            )


def open_nifti(path: Path) -> nb.Nifti1Image:
    """Open an image without reading its voxels.

    Raises
    ------
    BIDSDataError
        If it is no readable file, no NIfTI image, or its header makes no sense.
    """
    check_file(path)
    try:
        image = nb.load(path)
    except UNREADABLE as error:
        raise BIDSDataError(
            f"{path}: expected a NIfTI image, found a file that cannot be read as one "
            f"({' '.join(str(error).split())}); {_other_name(path) or 'convert or copy it again'}"
        ) from error
    if not isinstance(image, nb.Nifti1Image):
        raise BIDSDataError(
            f"{path}: expected a NIfTI image (.nii or .nii.gz), found {type(image).__name__}; convert it to "
            "NIfTI"
        )
    if not int(image.header["sform_code"]) and lacks_voxel_sizes(image):
        raise BIDSDataError(
            f"{path}: expected voxel sizes in the header, found 0 (pixdim), and no sform that tells them; "
            "convert the image again, or restore pixdim"
        )
    return image


def _other_name(path: Path) -> str:
    """What to rename an image to whose name tells wrongly whether it is compressed; empty for any other."""
    with path.open("rb") as stream:
        start = stream.read(4)
    if start[:2] == b"\x1f\x8b" and not path.name.endswith(".gz"):
        return f"it is compressed: name it {path.name}.gz"
    if start in _HEADER_SIZES and path.name.endswith(".gz"):
        return f"it is not compressed: name it {path.name.removesuffix('.gz')}"
    return ""


def listed_in_bidsignore(bids_dir: Path, paths: Iterable[Path]) -> list[Path]:
    """Files that a dataset hides from validators.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset, with or without a ``.bidsignore``.
    paths : iterable of Path
        Files in it.

    Returns
    -------
    hidden : list of Path
        Those that the last line that fits them lists; a line that begins with ``!`` takes a file back.
    """
    text, listing = "", bids_dir / ".bidsignore"
    # A pipe would be waited for; what cannot be read lists nothing.
    with suppress(OSError):
        text = listing.read_text(encoding="utf-8", errors="replace") if listing.is_file() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    # Matching takes a time that grows with the square of a pattern, and no path is so long.
    lines = [line for line in lines if len(line) <= _LONGEST_PATTERN]
    return [path for path in paths if _is_listed(path.relative_to(bids_dir), lines)]


def _is_listed(path: Path, lines: Sequence[str]) -> bool:
    # As in .gitignore: a pattern with a slash begins at the root, and one that fits a folder takes all in it.
    whole = [path.as_posix(), *(parent.as_posix() for parent in path.parents)]
    is_listed = False
    for line in lines:
        pattern = line.removeprefix("!").rstrip("/").removeprefix("**/")
        parts = whole if "/" in pattern else path.parts
        if any(fnmatchcase(part, pattern.removeprefix("/")) for part in parts):
            is_listed = not line.startswith("!")
    return is_listed


def images_out_of_reach(folder: Path, suffixes: Sequence[str]) -> str:
    """Words about the first image below the folder of a participant without any, or about an empty folder.

    Parameters
    ----------
    folder : Path
        Of a participant in whose ``anat`` and ``dwi`` folders nothing was found.
    suffixes : sequence of str
        Those that are looked for, such as T1w.

    Returns
    -------
    words : str
        ``; ...``, with the name of a file and what to do with it; empty if there is nothing to say.
    """
    pattern = re.compile(rf"(?:.*_)?(?:{'|'.join(suffixes)})({_FORMATS})", re.IGNORECASE)
    files = (Path(parent) / name for parent, _, names in os.walk(folder) for name in sorted(names))
    for path in islice(files, _MOST_FILES):
        found = pattern.fullmatch(path.name)
        if not found:
            continue
        where = path.relative_to(folder.parent)
        if not found[1].lower().startswith(".nii"):
            return f"; {where} {_OF_NO_BIDS}"
        # Those of sessions that were not asked for lie well.
        if path.parent.name not in _FOLDERS:
            return f"; {where} lies where none is looked for: move it to its folder (anat, dwi)"
    # One that may not be listed is named elsewhere.
    with suppress(OSError):
        if not any(folder.iterdir()):
            return (
                f": its folder is empty; where it is a subdataset of DataLad, run 'datalad get -n {folder}'"
            )
    return ""


def images_of_other_formats(folder: Path, suffixes: Sequence[str]) -> dict[Path, str]:
    """Images of a format that BIDS does not have, such as Analyze pairs, and what to do with each.

    Parameters
    ----------
    folder : Path
        Of images, such as ``anat``.
    suffixes : sequence of str
        Those that are looked for, such as T1w.

    Returns
    -------
    reasons : dict of Path to str
        Of a pair of header and voxels the latter; nothing that is there as NIfTI, too.
    """
    pattern = re.compile(rf"(sub-.*_(?:{'|'.join(suffixes)})){_FORMATS}", re.IGNORECASE)
    found: dict[str, list[str]] = {}
    # A folder that cannot be listed is named elsewhere.
    with suppress(OSError), os.scandir(folder) as entries:
        for match in filter(None, (pattern.fullmatch(name) for name in sorted(one.name for one in entries))):
            found.setdefault(match[1], []).append(match[0])
    return {
        folder / names[-1]: f"{names[-1]} {_OF_NO_BIDS}"
        for names in found.values()
        if not any(name.lower().endswith((".nii", ".nii.gz")) for name in names)
    }


def images_named_by_converters(folder: Path, suffixes: Sequence[str]) -> dict[Path, str]:
    """Images whose name goes on behind the suffix, as converters tell two of one name apart, and a remedy.

    Parameters
    ----------
    folder, suffixes
        As of `images_of_other_formats`.

    Returns
    -------
    reasons : dict of Path to str
        Such as of ``sub-01_T1w__dup-01.nii.gz`` (HeuDiConv), ``sub-01_T1w1.nii`` and ``sub-01_T1wa.nii``.
    """
    pattern = re.compile(rf"sub-.*_({'|'.join(suffixes)})({_FURTHER})\.nii(?:\.gz)?")
    # A folder that cannot be listed is named elsewhere.
    with suppress(OSError), os.scandir(folder) as entries:
        matches = filter(None, (pattern.fullmatch(name) for name in sorted(one.name for one in entries)))
        return {
            folder / match[0]: f"{match[0]}: {match[2]} behind {match[1]} is what converters add to another "
            "image of one name, and BIDS does not have it: give it a number (run-2) if it is a repetition"
            for match in matches
        }
    return {}


def check_end(stream: BinaryIO) -> None:
    """Compare the checksum of a gzip file: that is done where its end is reached.

    Other bytes behind the end are not the image: they are ignored, as by ``gzip`` itself.

    Raises
    ------
    OSError
        If what was read is not what was compressed.
    """
    try:
        stream.read(1)
    except gzip.BadGzipFile as error:
        if not str(error).startswith("Not a gzipped file"):
            raise
