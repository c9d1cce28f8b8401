"""Nipype interfaces for anatomical images: mask, registration, alignment."""
