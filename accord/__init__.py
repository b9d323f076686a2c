"""Align text-to-image diffusion and flow models with several rewards at once, without human labels."""

from accord.version import __version__

__all__ = ["__version__"]
