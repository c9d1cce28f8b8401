"""Strategies for diffusion series."""
