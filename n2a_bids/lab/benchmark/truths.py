"""Clean T1w images and templates (truths) that benchmarks simulate from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.masked_filters import bounding_box
from n2a_bids.algorithms.repetitions import Repetitions
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.io.images import UNREADABLE

_TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
_STRIPPED_ZERO_FRACTION = 0.2

Contrast = Literal["T1w", "T2w", "FLAIR"]
_T1W_LEVELS = (0, 0.3, 0.6, 1, 2)
"""CSF, its border, grey matter, white matter and vessels, over the level of white matter."""
_LEVELS: Mapping[Contrast, tuple[float, ...]] = {
    "T2w": (3.2, 3.0, 1.4, 1, 0.9),
    "FLAIR": (0.15, 0.25, 1.25, 1, 0.95),
}
_WHITE_PERCENTILE = 90


@dataclass(frozen=True, slots=True)
class Truth:
    """One clean image."""

    name: str
    data: NDArray[np.float32]
    """(X, Y, Z) intensities."""
    mask: NDArray[np.bool_]
    """(X, Y, Z) brain mask."""
    affine: NDArray[np.float64]
    """(4, 4) voxel to world, mm."""

    @property
    def voxel_size_mm(self) -> tuple[float, float, float]:
        """Voxel size along the array axes."""
        x, y, z = nib.affines.voxel_sizes(self.affine)
        return float(x), float(y), float(z)

    @property
    def left_right_axis(self) -> int:
        """Array axis that runs left-right."""
        return next(i for i, code in enumerate(nib.aff2axcodes(self.affine)) if code in ("L", "R"))

    def repetitions(
        self, images: NDArray[np.float32], *, same_contrast: bool = True, real_valued: bool = False
    ) -> Repetitions:
        """(R, X, Y, Z) images of this grid and brain, as strategies get them."""
        return Repetitions(
            np.ascontiguousarray(images[..., None]),
            self.mask,
            self.voxel_size_mm,
            self.left_right_axis,
            same_contrast,
            real_valued=real_valued,
        )


def load_truth(path: Path, mask_path: Path | None = None) -> Truth:
    """Read a truth; without a mask file the image must be skull-stripped (zero outside the brain).

    Parameters
    ----------
    path : Path
        NIfTI image, 3D.
    mask_path : Path, optional
        NIfTI image on the same grid, positive inside the brain.

    Returns
    -------
    truth : Truth
        Named by the file name without its extensions.

    Raises
    ------
    BIDSDataError
        If a file cannot be read, is not 3D, the grids differ, or a whole head comes without mask.
    """
    image = _load(path)
    data = np.asarray(image.dataobj, dtype=np.float32)
    if data.ndim != 3:
        raise BIDSDataError(
            f"{path}: expected a 3D image as truth, found shape {data.shape}; give one volume"
        )
    if mask_path is not None:
        mask = np.asarray(_load(mask_path).dataobj) > 0
        if mask.shape != data.shape:
            raise BIDSDataError(
                f"{mask_path}: expected the grid {data.shape} of {path}, found {mask.shape}; "
                "resample the mask"
            )
    elif np.mean(data == 0) < _STRIPPED_ZERO_FRACTION:
        raise BIDSDataError(
            f"{path}: expected a skull-stripped truth (zero outside the brain) or a mask, "
            "found a whole head; give its brain mask by --truth-mask"
        )
    else:
        mask = ndimage.binary_fill_holes(data > 0)
    if not mask.any():
        raise BIDSDataError(f"{mask_path or path}: expected a brain mask, found no positive voxel")
    return Truth(path.name.split(".nii")[0], data, mask, np.asarray(image.affine, dtype=float))


def template_truth() -> Truth:
    """Average brain of the ICBM152 template that nilearn carries: needs no download.

    It is one of the images that pretraining sees: it shows that the benchmark runs, and is no
    evidence of how well pretrained weights do on new brains.
    """
    with as_file(files("nilearn") / _TEMPLATE) as path:
        return replace(load_truth(path), name="icbm152")


def in_contrast(truth: Truth, contrast: Contrast) -> Truth:
    """Map the grey levels of a T1w brain to those of another contrast, on the anatomy of the same brain.

    Parameters
    ----------
    contrast : {"T1w", "T2w", "FLAIR"}
        T2w: bright CSF, grey matter above white; FLAIR: the same with dark CSF; T1w: as it is.

    Returns
    -------
    truth : Truth
        Named after brain and contrast; what lies outside of the brain is zero.
    """
    if contrast == "T1w":
        return truth
    white = np.percentile(truth.data[truth.mask], _WHITE_PERCENTILE)
    levels = white * np.interp(truth.data / white, _T1W_LEVELS, _LEVELS[contrast])
    data = np.where(truth.mask, levels, 0).astype(np.float32)
    return replace(truth, name=f"{truth.name}-like-{contrast}", data=data)


def crop_truth(truth: Truth, size: Sequence[int] | None) -> Truth:
    """Cut a box around the centre of the brain.

    Parameters
    ----------
    size : three ints, optional
        Voxels along each axis, no more than the image has; by default the whole image.

    Raises
    ------
    ConfigError
        If a size is not positive.
    """
    if size is None:
        return truth
    if min(size) < 1:
        raise ConfigError(f"expected three positive crop sizes, found {' '.join(map(str, size))}")
    cut = centred_box(truth.mask, size)
    affine = truth.affine.copy()
    affine[:3, 3] = nib.affines.apply_affine(truth.affine, [span.start for span in cut])
    return replace(truth, data=truth.data[cut], mask=truth.mask[cut], affine=affine)


def centred_box(mask: NDArray[np.bool_], size: Sequence[int]) -> tuple[slice, ...]:
    """Box of this size around the middle of a mask, inside the grid."""
    box = []
    for span, target, limit in zip(bounding_box(mask), size, mask.shape, strict=True):
        length = min(target, limit)
        start = int(np.clip((span.start + span.stop - length) // 2, 0, limit - length))
        box.append(slice(start, start + length))
    return tuple(box)


def pad_truth(truth: Truth, margin: int) -> Truth:
    """Add voxels, copies of the nearest ones, where the brain is nearer than `margin` to the image's end."""
    widths = [
        (max(0, margin - span.start), max(0, span.stop + margin - limit))
        for span, limit in zip(bounding_box(truth.mask), truth.data.shape, strict=True)
    ]
    affine = truth.affine.copy()
    affine[:3, 3] = nib.affines.apply_affine(truth.affine, [-before for before, _ in widths])
    data = np.pad(truth.data, widths, mode="edge")
    return replace(truth, data=data, mask=np.pad(truth.mask, widths), affine=affine)


def _load(path: Path) -> nib.spatialimages.SpatialImage:
    try:
        image = nib.load(path)
        np.asarray(image.dataobj[..., :1])
        return image
    except UNREADABLE as error:
        raise BIDSDataError(
            f"{path}: expected a readable NIfTI image, found {error}; check the file"
        ) from error
