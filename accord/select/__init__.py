"""From the rewards of a prompt's images to preference pairs, one file per rule."""
