"""Thin nipype interfaces: files in, files out."""
