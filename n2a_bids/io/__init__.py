"""Reads and writes files: images, transforms, gradient tables, weights, JSON; each whole or not at all."""
