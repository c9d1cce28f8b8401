"""Denoising of aligned images: files in, files out, in a process of its own."""
