"""The app itself: its two levels, participant and group, and how work is carried out."""
