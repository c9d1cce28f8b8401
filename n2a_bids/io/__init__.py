"""Files: images, transforms, gradient tables, network weights, JSON; each written whole or not at all."""
