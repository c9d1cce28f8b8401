"""Motion and distortion: found between images, and undone in one interpolation."""
