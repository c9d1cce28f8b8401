"""What is done to repetitions before any strategy sees them: intensities, noise, head."""
