"""Decides which images of a dataset are denoised together."""
