"""Several methods side by side over one table of scores."""
