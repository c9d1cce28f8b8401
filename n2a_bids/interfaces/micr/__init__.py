"""Nipype interfaces (nodes) for micrographs: alignment and writing."""
