"""Nipype interfaces that describe results in sidecars and write them."""
