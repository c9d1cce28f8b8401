"""The science: arrays in, arrays out, with numpy, scipy and torch alone; no files, no BIDS, no nipype."""
