"""n2a_bids: the BIDS-App that denoises repeated MRI with Noise2Average."""

__version__ = "0.1.0"
