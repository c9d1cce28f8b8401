"""Neural networks: their layers, training, application to large images, and weights."""
