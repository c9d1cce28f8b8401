"""Reads a BIDS dataset: files, entities, sidecars, gradient tables, and checks what is wrong with them."""
