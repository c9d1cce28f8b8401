"""Progress of a run on the terminal: header, lines of ended steps, expected seconds and time left."""
