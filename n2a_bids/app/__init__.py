"""The app itself: its levels participant, group and train, and how work is carried out."""
