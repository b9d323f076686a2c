"""Win rates, intervals and correlations, on plain arrays."""
