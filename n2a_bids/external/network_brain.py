"""Brain mask of a head of any contrast by the small network that comes with the package."""

from __future__ import annotations

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from n2a_bids.algorithms.nn.weights import build_network
from n2a_bids.algorithms.preparation.brain_depth import brain_depth, brain_of_depth
from n2a_bids.algorithms.threads import one_thread
from n2a_bids.algorithms.transforms import voxel_sizes_mm
from n2a_bids.errors import DenoisingError
from n2a_bids.io.weights import PACKAGED, load_weights

_NETWORK = "brain-mask"


def find_by_network(data: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find the brain in a head of any contrast.

    Parameters
    ----------
    data : (X, Y, Z) array
        Magnitudes, in any orientation.
    affine : (4, 4) array
        Voxel to world mm.

    Returns
    -------
    mask : (X, Y, Z) bool array
        In the order of the voxels of the image; empty where nothing looks like a brain.

    Raises
    ------
    DenoisingError
        If the package was installed without the weights, or they are damaged.
    """
    upright = nb.as_closest_canonical(nb.Nifti1Image(data, affine))
    # One voxel without a value would leave none to its neighbours in the network.
    shown = np.nan_to_num(np.asarray(upright.dataobj, np.float32), posinf=0.0, neginf=0.0)
    sizes = voxel_sizes_mm(upright.affine)
    weights = load_weights(_NETWORK)
    if weights is None:
        raise DenoisingError(
            f"{PACKAGED / _NETWORK}.safetensors: expected the weights that find the brain, found no such "
            "file; install n2a-bids again, or find the brain otherwise (n2a: --dwi-mask-method or "
            "--mask-method; n2a-tools denoise: --mask)"
        )
    network = build_network(_NETWORK, weights)
    with one_thread():
        mask = brain_of_depth(brain_depth(network, shown, sizes), shown, sizes)
    back = nb.orientations.ornt_transform(nb.orientations.axcodes2ornt("RAS"), nb.io_orientation(affine))
    return nb.orientations.apply_orientation(mask, back)
