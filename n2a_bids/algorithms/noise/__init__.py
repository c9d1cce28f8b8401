"""Noise: level and map, Rician and chi floors, correlation of neighbours, k-space, copies."""
