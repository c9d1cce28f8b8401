"""Nipype interfaces (nodes) that describe results in sidecars and write them."""
