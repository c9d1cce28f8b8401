"""Downstream analysis: noise of the Jacobian of a deformation to a template (SyN of ANTs)."""

from __future__ import annotations

import tempfile
from functools import partial

import numpy as np
from numpy.typing import NDArray

from n2a_bids.errors import DenoisingError
from n2a_bids.lab.benchmark.downstream.analyses import Analysis, Image
from n2a_bids.lab.benchmark.truths import Truth

MEASURES = ("log_jacobian",)
_ITERATIONS = (30, 20, 10)
"""At a quarter of the resolution, at half, and at all of it."""
_AFFINE = (500, 250, 100, 0)
"""Down to half the resolution: a place to start from needs no more."""
_BINS = 32
"""Of the histograms of mutual information."""


def registration_analysis(truth: Truth, core: Truth, template: Truth) -> Analysis[NDArray[np.float32]]:
    """Deformation of one brain to a template, in a box.

    The template is brought to the clean brain as a whole, by an affine transform, once. So all that differs
    between images is the deformable part.

    Parameters
    ----------
    truth : Truth
        Clean image of the whole brain.
    core : Truth
        The box that is analysed.
    """
    target = template_on_grid(truth, core, template)
    return Analysis(MEASURES, partial(log_jacobian, target=target, core=core), compare_jacobians)


def template_on_grid(truth: Truth, core: Truth, template: Truth) -> Image:
    """Template in the place of a brain, on the grid of a box, after an affine registration."""
    import ants as antspyx

    from n2a_bids.external.ants import image_in_world

    brain, average = (image_in_world(one.data, one.affine) for one in (truth, template))
    with tempfile.TemporaryDirectory(prefix="n2a_benchmark_") as folder:
        found = antspyx.registration(
            brain, average, "Affine", outprefix=f"{folder}/", aff_iterations=_AFFINE, random_seed=1
        )
        grid = image_in_world(core.data, core.affine)
        return antspyx.apply_transforms(grid, average, found["fwdtransforms"]).numpy()


def log_jacobian(image: Image, target: Image, core: Truth) -> NDArray[np.float32]:
    """Logarithm of the Jacobian of the deformation that brings an image to a target.

    Parameters
    ----------
    image : (X, Y, Z) float32 array
        T1w.
    target : (X, Y, Z) float32 array
        On the same grid.
    core : Truth
        Its mask is where the target is compared, and its grid that of both.

    Returns
    -------
    values : (N,) float32 array
        In the voxels of the mask; above 0 where the image is larger than the target.

    Raises
    ------
    DenoisingError
        If ANTs gives up.
    """
    import ants as antspyx

    from n2a_bids.external.ants import image_in_world

    fixed, moving, mask = (image_in_world(one, core.affine) for one in (target, image, core.mask))
    with tempfile.TemporaryDirectory(prefix="n2a_benchmark_") as folder:
        try:
            found = antspyx.registration(
                fixed,
                moving,
                "SyNOnly",
                mask=mask,
                outprefix=f"{folder}/",
                syn_metric="mattes",
                syn_sampling=_BINS,
                reg_iterations=_ITERATIONS,
                random_seed=1,
            )
            warp = next(name for name in found["fwdtransforms"] if name.endswith(".nii.gz"))
            jacobian = antspyx.create_jacobian_determinant_image(fixed, warp, do_log=True).numpy()
        except Exception as error:  # antspyx raises nothing narrower
            raise DenoisingError(
                f"SyN: expected a deformation to the template, found none ({error}); give a larger --crop"
            ) from error
    return jacobian[core.mask].astype(np.float32)


def compare_jacobians(one: NDArray[np.float32], other: NDArray[np.float32]) -> dict[str, float]:
    """Root mean square difference of two logarithms of Jacobians; 0.1 is a volume wrong by a tenth."""
    return {"log_jacobian": float(np.sqrt(np.mean((one - other) ** 2)))}
