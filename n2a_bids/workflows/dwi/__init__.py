"""Workflow of one group of diffusion series."""
