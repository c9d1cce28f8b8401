"""Diffusion-weighted images: gradient tables, shells, subsets of directions, the tensor."""
