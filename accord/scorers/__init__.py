"""Reward models, one file each: a card, and `score(images, prompts)`."""
