"""Your own images and pairs: read from where they are, checked, imported as a pool, and written out again."""
