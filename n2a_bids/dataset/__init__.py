"""From a BIDS folder to groups of images to denoise, and the names of what is written."""
