"""Comparison with other methods, on simulated and on real images."""
