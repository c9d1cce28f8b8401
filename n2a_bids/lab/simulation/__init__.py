"""Simulated images whose truth is known: heads, diffusion series, micrographs, lesions, noise."""
