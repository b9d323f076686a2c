"""What a run trained, for other programs."""
