"""Preference training: pairs and cached latents in, a tuned policy out.

`loop.train` is the whole method in one generator; every other file holds one thing that it uses.
"""
