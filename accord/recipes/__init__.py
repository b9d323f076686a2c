"""Recipes: each paper's five choices as a short TOML file, and the run files written from them."""
