"""Strategies for micrographs: repeated exposures of one field of view."""
