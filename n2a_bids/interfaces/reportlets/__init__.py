"""Nipype interfaces that draw the plots of the report."""
