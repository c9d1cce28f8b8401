"""Steps of the workflow of micrographs."""
