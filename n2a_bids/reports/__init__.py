"""Participant and group pages, and the text of the methods."""
