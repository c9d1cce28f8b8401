"""Downstream analysis: volumes and overlap of tissues by Atropos of ANTs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.quality.mask_checks import dice
from n2a_bids.errors import DenoisingError
from n2a_bids.lab.benchmark.downstream.analyses import Analysis

TISSUES = ("csf", "gm", "wm")
"""Of a T1w image, from dark to bright."""
MEASURES = (*(f"{name}_overlap" for name in TISSUES), *(f"{name}_volume" for name in TISSUES))
_ITERATIONS, _SMOOTHNESS = 5, 0.1


@dataclass(frozen=True, slots=True)
class Tissues:
    """What a segmentation says of a brain."""

    labels: NDArray[np.uint8]
    """(X, Y, Z) 0 outside of the brain, 1 to 3 in the order of `TISSUES`."""
    probabilities: NDArray[np.float32]
    """(3, X, Y, Z) in the same order."""
    volumes_ml: tuple[float, float, float]
    """Sums of the probabilities."""


def tissue_analysis(mask: NDArray[np.bool_], voxel_size_mm: tuple[float, float, float]) -> Analysis[Tissues]:
    """Volumes and overlap of the tissues of one brain."""
    return Analysis(MEASURES, partial(segment, mask=mask, voxel_size_mm=voxel_size_mm), compare_tissues)


def segment(
    image: NDArray[np.float32], mask: NDArray[np.bool_], voxel_size_mm: tuple[float, float, float]
) -> Tissues:
    """Part a brain into three tissues by its intensity alone (k-means, then a Markov random field).

    Without priors of an atlas, so that what noise does to the result is not hidden by them.

    Parameters
    ----------
    image : (X, Y, Z) float32 array
        T1w.
    mask : (X, Y, Z) bool array
        Brain.
    voxel_size_mm : tuple of float

    Raises
    ------
    DenoisingError
        If Atropos gives up, as it does where no three intensities are there.
    """
    import ants as antspyx

    # Rescaled, so that no unit of intensity decides how a mixture is fitted.
    scaled = np.ascontiguousarray(image * (100 / image[mask].mean()), dtype=np.float32)
    try:
        found = antspyx.atropos(
            a=antspyx.from_numpy(scaled, spacing=list(voxel_size_mm)),
            x=antspyx.from_numpy(mask.astype(np.float32), spacing=list(voxel_size_mm)),
            i=f"kmeans[{len(TISSUES)}]",
            m=f"[{_SMOOTHNESS},1x1x1]",
            c=f"[{_ITERATIONS},0]",
            # The field is updated in a random order, which would count as an error of the image.
            r=0,
        )
    except Exception as error:  # antspyx raises nothing narrower
        raise DenoisingError(
            f"Atropos: expected three tissues of different brightness in the mask, found none ({error}); "
            "give a larger --crop"
        ) from error
    labels = found["segmentation"].numpy().astype(np.uint8)
    probabilities = np.stack([one.numpy() for one in found["probabilityimages"]]).astype(np.float32)
    brightness = [scaled[labels == index + 1].mean() for index in range(len(TISSUES))]
    order = np.argsort(brightness)
    names = np.zeros(len(TISSUES) + 1, np.uint8)
    names[order + 1] = np.arange(1, len(TISSUES) + 1)
    probabilities = probabilities[order]
    volumes = probabilities[:, mask].sum(axis=1, dtype=float) * float(np.prod(voxel_size_mm)) / 1000
    return Tissues(names[labels], probabilities, (volumes[0], volumes[1], volumes[2]))


def compare_tissues(one: Tissues, other: Tissues) -> dict[str, float]:
    """Compare two segmentations of one brain.

    Parameters
    ----------
    one, other : Tissues
        Volumes are told relative to those of the second.

    Returns
    -------
    differences : dict
        ``gm_overlap`` and so on: 1 minus the Dice coefficient; ``gm_volume`` and so on: absolute difference
        over the volume. 0 where both agree.
    """
    differences = {}
    for index, name in enumerate(TISSUES):
        first, second = (which.labels == index + 1 for which in (one, other))
        differences[f"{name}_overlap"] = 1 - dice(first, second) if (first | second).any() else 0.0
        differences[f"{name}_volume"] = abs(one.volumes_ml[index] / other.volumes_ml[index] - 1)
    return differences
