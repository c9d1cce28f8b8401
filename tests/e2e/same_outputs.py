"""Compare two output folders of the app: proof that a change of the code changed no result.

    python tests/e2e/same_outputs.py BEFORE AFTER

Images must have the same voxels, affine and data type; sidecars and tables the same values, but for what
differs between any two runs (times, memory, versions, identifiers). Prints each difference and ends with exit
code 1 if there is one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nb
import numpy as np

_OF_A_RUN = {
    "Seconds",
    "PeakMemoryMB",
    "PeakGPUMemoryMB",
    "seconds",
    "peak_memory_mb",
    "peak_gpu_memory_mb",
    "run_uuid",
    "n2a_version",
    "Version",
    "SoftwareVersion",
    "GeneratedBy",
    "DatasetLinks",
}
"""Keys of sidecars that tell of the run rather than of the result."""
_NOT_COMPARED = {"logs", "log", "figures"}
"""Folders of text that names the run; pictures are drawn from what is compared."""
_COMPARED = (".nii.gz", ".json", ".tsv", ".bval", ".bvec", ".txt")


def compare_folders(before: Path, after: Path) -> Iterator[str]:
    """Yield a sentence for each difference between two output folders."""
    files = {folder: set(_list_results(folder)) for folder in (before, after)}
    for name in sorted(files[before] ^ files[after]):
        yield f"{name}: only in {before if name in files[before] else after}"
    for name in sorted(files[before] & files[after]):
        if name.endswith(".nii.gz"):
            yield from _compare_images(name, before / name, after / name)
        elif name.endswith(".json"):
            first, second = (json.loads((folder / name).read_text()) for folder in (before, after))
            yield from _compare_values(name, first, second)
        elif (before / name).read_text() != (after / name).read_text():
            yield f"{name}: the text differs"


def _list_results(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and path.name.endswith(_COMPARED) and not _NOT_COMPARED & set(name.parts):
            yield name.as_posix()


def _compare_images(name: str, before: Path, after: Path) -> Iterator[str]:
    first, second = nb.load(before), nb.load(after)
    if first.get_data_dtype() != second.get_data_dtype():
        yield f"{name}: {first.get_data_dtype()} became {second.get_data_dtype()}"
    if not np.array_equal(first.affine, second.affine):
        yield f"{name}: the affine differs"
    if first.shape != second.shape:
        yield f"{name}: shape {first.shape} became {second.shape}"
    elif not np.array_equal(one := first.get_fdata(), other := second.get_fdata(), equal_nan=True):
        worst = np.nanmax(np.abs(one - other))
        yield f"{name}: {np.count_nonzero(one != other)} voxels differ, by up to {worst:g}"


def _compare_values(name: str, before: object, after: object) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted((before.keys() | after.keys()) - _OF_A_RUN):
            if key not in before or key not in after:
                yield f"{name}: {key} is only in {'the first' if key in before else 'the second'}"
            else:
                yield from _compare_values(f"{name}: {key}", before[key], after[key])
    elif before != after:
        yield f"{name}: {before} became {after}"


def main(arguments: list[str]) -> int:
    """Compare the two folders named on the command line."""
    before, after = map(Path, arguments)
    differences = list(compare_folders(before, after))
    print("\n".join(differences) or "the same images, sidecars and tables")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
