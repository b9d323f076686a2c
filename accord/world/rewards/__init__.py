"""Scorers of the embedded world, one file each."""
