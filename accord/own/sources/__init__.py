"""One file per way of storing rows. Each has a function that returns a `Source`."""
