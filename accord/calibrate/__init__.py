"""Raw scores made comparable over prompts and scorers: rewards. One file per way."""
