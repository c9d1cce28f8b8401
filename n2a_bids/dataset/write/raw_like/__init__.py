"""The raw-like dataset (``--emit-raw-like``): a copy in which denoised images replace raw ones."""
