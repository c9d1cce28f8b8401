"""Training of one network for a whole dataset: files in, weights and model card out."""
