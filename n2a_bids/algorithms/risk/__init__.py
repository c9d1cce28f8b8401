"""Which denoised image is best without a truth: risk (expected error) on held-out data, and error maps."""
