"""Images whose truth is known: heads, diffusion series, lesions, noise."""
