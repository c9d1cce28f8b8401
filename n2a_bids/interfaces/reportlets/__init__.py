"""Nipype interfaces (nodes) that draw the figures of the report."""
