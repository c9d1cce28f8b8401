"""Head motion and registration: estimated, judged (QC), and undone in one interpolation."""
