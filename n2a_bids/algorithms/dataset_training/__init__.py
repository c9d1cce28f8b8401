"""Training of one network on all subjects of a dataset: examples, training steps, evaluation."""
