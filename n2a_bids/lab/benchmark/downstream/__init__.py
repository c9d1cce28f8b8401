"""What a denoised pair is worth in what labs publish: tissues, registration, diffusion maps."""
