"""Records: typed dataclasses of all that is known of one denoising, between processes and in sidecars."""
