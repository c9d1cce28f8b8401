"""Micrograph exposures before they are denoised: selection, frames, loading, command."""
