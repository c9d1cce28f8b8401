"""Which images of a dataset are denoised together."""
