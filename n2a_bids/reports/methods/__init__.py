"""Text for a methods section, with references to what a run used."""
