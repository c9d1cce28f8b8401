"""Benchmark of micrographs: exposures simulated from clean images, strategies and classical denoisers."""
