"""Reversed b0 images in the raw-like dataset, as the partners of denoised series."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from n2a_bids.algorithms.diffusion.shells import FEWEST_VOLUMES
from n2a_bids.dataset.grouping.dwi_b0 import read_b0_images, reason_computed
from n2a_bids.dataset.grouping.dwi_reverse_pe import are_opposite
from n2a_bids.dataset.names import parse_name
from n2a_bids.dataset.read.acquisition import is_phase, read_acquisition
from n2a_bids.dataset.read.files import has_content
from n2a_bids.dataset.read.gradient_tables import Series, read_series
from n2a_bids.dataset.read.metadata import SidecarReader
from n2a_bids.dataset.units import ImageFile
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.files import copied_whole, copy_whole, write_whole
from n2a_bids.io.gradients import read_bvals, write_gradients
from n2a_bids.io.json import sidecar_text


def copy_reversed_b0(
    bids_dir: Path, root: Path, denoised: Iterable[Path], b0_threshold: float
) -> list[ImageFile]:
    """Copy the series of ``dwi`` folders that show the distortion of denoised series the other way round.

    A series is copied that has opposite phase encoding to a denoised one in its folder, and too few volumes
    to be denoised itself (UK Biobank: three b0s and three directions), or too few with diffusion weighting.
    Image and tables are copied as they are, under their names; the sidecar holds what applied to the image
    by inheritance. b0 images that came without a table of their own get one of zeros, without which no tool
    takes them for diffusion data.

    Parameters
    ----------
    bids_dir : Path
        The input dataset.
    root : Path
        The dataset that looks raw.
    denoised : iterable of Path
        Series in `bids_dir` that stand denoised in `root`.
    b0_threshold : float
        Largest b-value of a b0, s/mm2.

    Returns
    -------
    copied : list of ImageFile
        Series in `bids_dir`.

    Raises
    ------
    BIDSDataError
        If such a series is a link of DataLad that was not fetched: without it, nothing would be corrected.
    """
    reader, denoised = SidecarReader(bids_dir), list(denoised)
    copied = []
    for folder in sorted({path.parent for path in denoised}):
        partners = [_read(path, reader, b0_threshold) for path in denoised if path.parent == folder]
        for path in sorted(folder.glob("*_dwi.nii*")):
            if path in denoised:
                continue
            if not has_content(path):
                _refuse_reversed(path, reader, partners, b0_threshold)
                continue
            series = _read(path, reader, b0_threshold)
            if series is None or not _shows_distortion(
                np.count_nonzero(series.weighted), series.weighted.size
            ):
                continue
            if any(partner is not None and are_opposite(series, partner) for partner in partners):
                _copy(series, root / path.relative_to(bids_dir))
                copied.append(series.image)
    return copied


def _shows_distortion(n_weighted: int, n_volumes: int) -> bool:
    """Whether a series that is not among the denoised ones has b0s, and was too short to be denoised."""
    was_left_out = n_weighted > 1 and n_volumes >= FEWEST_VOLUMES
    return not was_left_out and (n_weighted < n_volumes or not n_volumes)


def _read(path: Path, reader: SidecarReader, b0_threshold: float) -> Series | None:
    """None for what the list of images names as broken, or as computed by the scanner."""
    tables = (reader.nearest(path, ".bval"), reader.nearest(path, ".bvec"))
    try:
        image = ImageFile(path, parse_name(path)[0], reader.metadata(path), *tables)
        if reason_computed(image) or is_phase(image.metadata):
            return None
        return read_b0_images(image, b0_threshold) or read_series(image, b0_threshold)
    except BIDSDataError:
        return None


def _refuse_reversed(
    path: Path, reader: SidecarReader, partners: Iterable[Series | None], b0_threshold: float
) -> None:
    """Refuse an image without content that by sidecar and table is a reversed b0 of one of the partners."""
    try:
        own, table = read_acquisition(reader.metadata(path)), reader.nearest(path, ".bval")
        bvals = np.zeros(0) if table is None else read_bvals(table)[0]
    except BIDSDataError:
        return
    n_weighted = np.count_nonzero(bvals > b0_threshold)
    encodings = {one.acquisition.phase_encoding for one in partners if one is not None}
    # Its header, which would place the axes in the world, is not there: axes of one folder mean the same.
    opposite = own.phase_encoding.removesuffix("-") if "-" in own.phase_encoding else f"{own.phase_encoding}-"
    if own.phase_encoding and opposite in encodings and _shows_distortion(n_weighted, bvals.size):
        raise BIDSDataError(
            f"{path}: expected the b0 images of opposite phase encoding that go along with the series, found "
            "a link or pointer without content; fetch it with 'datalad get'"
        )


def _copy(series: Series, copy: Path) -> None:
    image, stem = series.image, copy.with_name(copy.name.split(".")[0])
    # What applies to the image alone in the original dataset: IntendedFor names series that are not here.
    kept = {key: value for key, value in image.metadata.items() if key != "IntendedFor"}
    with copied_whole(image.path, copy):
        write_whole(stem.with_name(f"{stem.name}.json"), sidecar_text(kept) + "\n")
        if image.bval is None or image.bvec is None:
            write_gradients(series.gradients, np.eye(4) if series.affine is None else series.affine, stem)
        else:
            copy_whole(image.bval, stem.with_name(f"{stem.name}.bval"))
            copy_whole(image.bvec, stem.with_name(f"{stem.name}.bvec"))
