"""Benchmarks (``n2a-tools benchmark``): comparison with other methods, simulated and real images."""
