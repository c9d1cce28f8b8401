"""Benchmarks of diffusion series."""
