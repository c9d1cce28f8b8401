"""Downstream worth of denoising: tissues, thickness, registration and diffusion maps."""
