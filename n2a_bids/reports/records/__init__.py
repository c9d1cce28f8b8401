"""What is known of finished results: read back from their sidecars."""
