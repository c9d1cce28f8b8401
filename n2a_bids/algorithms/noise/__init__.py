"""Noise: its level and map, the bias it leaves in magnitudes, what interpolation does to it."""
