"""Reports: pages of participants and group, methods text, and reading of finished results."""
