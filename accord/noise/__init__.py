"""How the noise of a training visit is chosen, one file per choice."""
