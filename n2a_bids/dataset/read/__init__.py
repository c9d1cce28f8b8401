"""What a BIDS dataset holds: files, entities, sidecars, gradient tables, and what is wrong with them."""
