"""Motion between images and between volumes: found, judged, and undone in one interpolation."""
