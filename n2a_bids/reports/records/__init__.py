"""What is known of finished results, read back: records, ratings, crash files, and what is out of date."""
