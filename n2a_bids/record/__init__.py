"""Everything that is known of one denoising, typed, as it goes from process to process and into sidecars."""
