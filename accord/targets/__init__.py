"""How strongly a pair should be preferred: one number per pair, one file per rule."""
