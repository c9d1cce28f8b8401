"""The workflow of micrographs."""
