"""Neural networks: architectures, training batches and loop, application to large images, weights."""
