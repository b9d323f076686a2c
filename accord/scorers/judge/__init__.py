"""Scorers behind an OpenAI-compatible endpoint: a vision-language model that is asked about an image."""
