"""What a person sees of a run: its plan, its steps as they end, and how long the rest takes."""
