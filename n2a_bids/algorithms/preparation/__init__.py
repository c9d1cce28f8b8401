"""What is done to repetitions before a strategy: scale, noise floor, gaps, phase, acquired matrix."""
