"""One network for all subjects of a dataset: what it learns from, its steps, and how it is evaluated."""
