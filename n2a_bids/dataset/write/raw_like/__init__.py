"""A copy of the dataset in which denoised images stand in the place of raw ones."""
