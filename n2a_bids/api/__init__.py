"""The Python functions (API): images in, images and records out, without BIDS and without a workflow."""

from n2a_bids.api.alignment import Aligned, align, brain_mask
from n2a_bids.api.denoising import Denoised, denoise
from n2a_bids.api.images import GradientTable, ImageLike
from n2a_bids.api.noise import NoiseEstimate, estimate_noise

__all__ = [
    "Aligned",
    "Denoised",
    "GradientTable",
    "ImageLike",
    "NoiseEstimate",
    "align",
    "brain_mask",
    "denoise",
    "estimate_noise",
]
