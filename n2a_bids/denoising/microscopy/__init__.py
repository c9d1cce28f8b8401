"""Exposures of a microscope before they are denoised: which fit together, frames, alignment, the command."""
