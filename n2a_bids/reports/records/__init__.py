"""Reads finished results back: records, ratings, crash files, and what is outdated."""
